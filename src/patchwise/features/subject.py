"""Whose features are asked for."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from patchwise.configs.normalisation import IMAGENET
from patchwise.features.notes import Notes
from patchwise.models.adapted import PROBE_PX, Adapted, asking, fixed_images
from patchwise.models.backbone import Backbone, normalisation_of

DEFAULT_MEMORY_BYTES = 4 * 2**30


@dataclass(frozen=True)
class ModelIdentity:
    """Whose features were scored."""

    name: str
    sha256: str | None  # of weights or features, see `identify`; None: it cannot be told apart


@dataclass(frozen=True)
class Subject:
    """A model whose features are asked for, and the means to get them.

    No score depends on the means: neither on the batch nor on the memory. Features from stores are
    rounded to float16.
    """

    backbone: Backbone  # in evaluation mode
    identity: ModelIdentity
    stores: Path | None = None  # folder of stored features, which are used and added to
    memory_bytes: int = DEFAULT_MEMORY_BYTES  # for what is held besides model and images
    batch: int = 32  # images that the backbone sees at a time
    workers: int = 0  # processes that read images ahead; 0: this one reads when it needs them
    notes: Notes = field(default_factory=Notes, compare=False, repr=False)


def identify(model: nn.Module, name: str) -> ModelIdentity:
    """Return name and digest of a model: its ``config``, names, types, shapes and bytes."""
    digest = hashlib.sha256(repr(getattr(model, "config", None)).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return ModelIdentity(name, digest.hexdigest())


def identify_by_features(backbone: Backbone, name: str) -> ModelIdentity:
    """Return name and digest of anything else that gives features.

    Of a module the digest is of its weights, and, as the same weights may give features of several
    layers, of the mean size and spread of features of two fixed images in two digits, which no
    device changes. Other things are known by those features alone, to the last bit: on another
    device they are another model. How its images are normalised belongs to it, too, if that is not
    as ImageNet's.
    """
    side_px = max(1, PROBE_PX // backbone.patch_px) * backbone.patch_px
    with asking(backbone.device):
        output = backbone(fixed_images(2, side_px).to(backbone.device))
    own = normalisation_of(backbone)
    pixels = "" if own == IMAGENET else f" {own}"
    function = backbone.function if isinstance(backbone, Adapted) else backbone
    features = [output.cls.float(), output.patches.float()]
    if not isinstance(function, nn.Module):
        seen = b"".join(map(_bytes, features)) + pixels.encode()
        return ModelIdentity(name, hashlib.sha256(seen).hexdigest())
    sizes = [f"{value:.1e}" for f in features for value in (float(f.abs().mean()), float(f.std()))]
    weights = identify(function, name).sha256
    return ModelIdentity(name, hashlib.sha256(f"{weights} {sizes}{pixels}".encode()).hexdigest())


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data
