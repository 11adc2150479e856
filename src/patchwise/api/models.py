"""From what a user names as a model to something whose features can be asked for."""

from dataclasses import replace
from pathlib import Path

import torch

from patchwise.errors import DataError
from patchwise.eval.baselines import RawPatches
from patchwise.features.subject import ModelIdentity, Subject, identify
from patchwise.models.backbone import Backbone
from patchwise.models.vit import ViT
from patchwise.models.weights import load_backbone

Model = str | Path | Backbone


def open_subject(model: Model, *, name: str | None = None, device: str | None = None) -> Subject:
    """Return a model, ready to be asked for features.

    Args:
        model: A weights file, or a backbone. A module is put into eval mode.
        name: What results call it; by default its file, or its class.
        device: Where a weights file is loaded to; None: a GPU if there is one. A backbone stays
            where it is.

    Raises:
        PatchwiseError: It cannot be used.
    """
    if isinstance(model, (str, Path)):
        path = Path(model).expanduser()
        loaded = load_for_scoring(path, device)
        return Subject(loaded, identify(loaded, name or path.name))
    if not isinstance(model, Backbone):
        raise DataError(
            f"evaluate: model must be a weights file, or have dim, patch_px and device and map "
            f"images to a BackboneOutput, got {type(model).__name__}"
        )
    if isinstance(model, RawPatches):
        identity = model.identity if name is None else replace(model.identity, name=name)
        return Subject(model, identity)
    if not isinstance(model, torch.nn.Module):
        return Subject(model, ModelIdentity(name or type(model).__name__, None))
    halves = {p.dtype for p in model.parameters()} - {torch.float32}
    if halves:
        raise DataError(
            f"evaluate: weights of the model must be float32, got {', '.join(map(str, halves))}; "
            f"give model.float()"
        )
    return Subject(model.eval(), identify(model, name or type(model).__name__))


def load_for_scoring(path: Path, device: str | None = None) -> ViT:
    """Load a backbone to where it is scored: by default a GPU if there is one."""
    return load_backbone(path).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
