"""From what a user names as a model to something whose features can be asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from patchwise.api.importing import import_object, names_object
from patchwise.checks import check_positive
from patchwise.errors import ConfigError, DataError
from patchwise.eval.baselines import RawPatches
from patchwise.features.notes import Notes
from patchwise.features.subject import (
    DEFAULT_MEMORY_BYTES,
    ModelIdentity,
    Subject,
    identify,
    identify_by_features,
)
from patchwise.models.adapted import adapt, gives_output
from patchwise.models.backbone import Backbone
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights import (
    describe_loaded,
    load_backbone,
    read_backbone,
    split_source,
)
from patchwise.models.weights.folder import find_weights
from patchwise.models.weights.hub import names_hub
from patchwise.training.fit import parse_bytes

Model = str | Path | Backbone | Callable[[Tensor], Any]


def open_subject(
    model: Model | Subject,
    *,
    name: str | None = None,
    device: str | None = None,
    features: str | Path | None = None,
    memory: str | None = None,
    batch: int = 32,
) -> Subject:
    """Return a model, ready to be asked for features, with the means to get them.

    Args:
        model: A weights file, ours or a published one, before whose path its layout may be named
            (``"timm:weights.pth"``, see `load_backbone`); the folder of a run, of transformers or
            of timm; ``"hub:OWNER/NAME"``; ``"module:name"`` or ``"file.py:name"``; or what these
            name: a backbone, or any function or module that maps normalised images (B, 3, H, W) to
            patch tokens (B, N, D), or to (CLS (B, D), patches (B, N, D)); see `adapt`. A module is
            put into eval mode. A subject is returned as it is.
        name: What results call it; by default its file, its name or its class.
        device: Where what has a name is loaded to; None: a GPU if there is one. A module that is
            handed over stays where it is; a function is given images there, by default on the CPU.
        features: Folder of stored features, which are used and added to.
        memory: For what is held besides model and images, such as ``"4GiB"``; no score depends on
            it.
        batch: Images that the model sees at a time; no score depends on it.

    Raises:
        PatchwiseError: It cannot be used; the message says what to do.
    """
    if isinstance(model, Subject):
        if (name, device, features, memory) != (None, None, None, None):
            raise ConfigError(
                f"evaluate: name, device, features and memory must be left out for a model that is "
                f"open, got {model.identity.name!r}; give them to open_subject"
            )
        return model
    check_positive("evaluate", batch=batch)
    limit = DEFAULT_MEMORY_BYTES if memory is None else parse_bytes(memory, caller="memory")
    stores = None if features is None else Path(features).expanduser()
    if stores is not None and stores.exists() and not stores.is_dir():
        raise DataError(f"evaluate: features must be a folder, got the file '{stores}'")
    where = None if device is None else _device(device)
    notes = Notes()
    backbone, identity = _open(model, where, notes)
    if name is not None:
        identity = replace(identity, name=name)
    return Subject(backbone, identity, stores=stores, memory_bytes=limit, batch=batch, notes=notes)


def load_for_scoring(path: Path, device: str | torch.device | None = None) -> ViT | FilteredViT:
    """Load a backbone to where it is scored: by default a GPU if there is one."""
    return load_backbone(path).to(device or _best_device())


def require_plain(weights: ViT | FilteredViT, name: str | Path) -> ViT:
    """Return weights that PW-Self and DINO can continue; ``name`` says whose they are."""
    if not isinstance(weights, ViT):
        raise ConfigError(
            f"train: init must be a plain ViT for PW-Self and DINO, got '{name}', which has an "
            f"object-aware filter; save its ViT: save_backbone(load_backbone('{name}').vit, "
            f"'vit.safetensors')"
        )
    return weights


def _open(
    model: Model, device: torch.device | None, notes: Notes
) -> tuple[Backbone, ModelIdentity]:
    if not isinstance(model, (str, Path)):
        name = getattr(model, "__qualname__", type(model).__name__)
        return _open_object(model, name, device)
    if isinstance(model, str) and names_object(model):
        found = import_object(model)
        if isinstance(found, nn.Module):
            found = found.to(device or _best_device())
        return _open_object(found, model, device)
    layout, path = split_source(model)
    name = _name(path)
    read = read_backbone(path, layout=layout)
    note = describe_loaded(read)
    if note is not None:
        notes.say_once(f"{name}: {note}")
    backbone = read.backbone.to(device or _best_device())
    return backbone, identify(backbone, name)


def _name(path: Path) -> str:
    """Return what results call the weights of a file, of a folder or of the hub."""
    if names_hub(str(path)):
        return str(path)
    return f"{path.resolve().name}/{find_weights(path).name}" if path.is_dir() else path.name


def _open_object(
    model: object, name: str, device: torch.device | None
) -> tuple[Backbone, ModelIdentity]:
    if isinstance(model, nn.Module):
        model.eval()
    if isinstance(model, RawPatches):
        return model, model.identity
    if isinstance(model, Backbone) and isinstance(model, nn.Module):
        _check_float32(model)
    if isinstance(model, (ViT, FilteredViT)):
        return model, identify(model, name)
    if isinstance(model, Backbone) and gives_output(model):
        return model, identify_by_features(model, name)
    if not callable(model) or isinstance(model, type):
        raise DataError(
            f"evaluate: model must be a weights file, the folder of a run, module:name, or map "
            f"images (B, 3, H, W) to patch tokens (B, N, D), got {type(model).__name__} {model!r}"
        )
    adapted = adapt(model, device=None if isinstance(model, nn.Module) else device)
    mean = "" if adapted.has_cls else " (CLS: mean of patches)"
    return adapted, identify_by_features(adapted, name + mean)


def _check_float32(model: nn.Module) -> None:
    halves = {p.dtype for p in model.parameters()} - {torch.float32}
    if halves:
        raise DataError(
            f"evaluate: weights of the model must be float32, got {', '.join(map(str, halves))}; "
            f"give model.float()"
        )


def _best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device(text: str) -> torch.device:
    """Return a device that can be used.

    Raises:
        ConfigError: There is none of that name.
    """
    try:
        return torch.empty(0, device=text).device
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(
            f"evaluate: device must be one that torch can use here, such as cpu, got {text!r}: "
            f"{first_line}"
        ) from error
