"""Loading and saving of backbones."""

from pathlib import Path

from patchwise.errors import WeightsError
from patchwise.models.backbone import Backbone
from patchwise.models.vit import ViT
from patchwise.models.weights.files import read_weights_file
from patchwise.models.weights.native import is_native, read_native, write_native
from patchwise.models.weights.vit_keys import read_vit_keys


def load_backbone(path: str | Path) -> ViT:
    """Return the backbone of a weights file, in evaluation mode, float32, on the CPU.

    Args:
        path: ``backbone.safetensors`` as `save_backbone` writes it, or a bare dict of ViT weights
            (.pth, .pt, .safetensors) as DINO published them.

    Raises:
        WeightsError: the file cannot be read, or it is none of these formats, or anything in it
            is missing, left over, of another shape or not finite.
    """
    file = read_weights_file(Path(path))
    return read_native(file) if is_native(file) else read_vit_keys(file)


def save_backbone(backbone: Backbone, path: str | Path) -> None:
    """Write weights and architecture into one .safetensors file, whole or not at all.

    Raises:
        WeightsError: ``backbone`` is no ViT or has weights that are not finite, or the file cannot
            be written.
    """
    if not isinstance(backbone, ViT):
        raise WeightsError(f"save_backbone: backbone must be a ViT, got {type(backbone).__name__}")
    write_native(backbone, Path(path))
