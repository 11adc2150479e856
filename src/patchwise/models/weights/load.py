"""Loading and saving of backbones."""

from pathlib import Path

from patchwise.checks import check_choice
from patchwise.errors import WeightsError
from patchwise.models.backbone import Backbone
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile, read_weights_file
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.native import NATIVE, write_native
from patchwise.models.weights.vit_keys import VIT_KEYS

# In the order in which they are tried; the last one names what is wrong with other files.
LAYOUTS: dict[str, Layout] = {
    "patchwise": NATIVE,
    "dino": VIT_KEYS,
}


def load_backbone(path: str | Path, *, layout: str | None = None) -> ViT:
    """Return the backbone of a weights file, in evaluation mode, float32, on the CPU.

    Args:
        path: ``backbone.safetensors`` as `save_backbone` writes it, or weights as others publish
            them; see `LAYOUTS`.
        layout: One of `LAYOUTS`; None: the first that recognises the file.

    Raises:
        WeightsError: the file cannot be read, or it is none of these formats, or anything in it
            is missing, left over, of another shape or not finite.
        ChoiceError: There is no such layout.
    """
    return read_backbone(path, layout=layout).backbone


def read_backbone(path: str | Path, *, layout: str | None = None) -> Loaded:
    """Return the backbone of a weights file, as `load_backbone` does, and what is known of it."""
    if layout is not None:
        check_choice("load_backbone", LAYOUTS, layout=layout)
    file = read_weights_file(Path(path))
    chosen = LAYOUTS[layout] if layout is not None else _recognise(file)
    return chosen.read(file)


def save_backbone(backbone: Backbone, path: str | Path) -> None:
    """Write weights and architecture into one .safetensors file, whole or not at all.

    Raises:
        WeightsError: ``backbone`` is no ViT or has weights that are not finite, or the file cannot
            be written.
    """
    if not isinstance(backbone, ViT):
        raise WeightsError(f"save_backbone: backbone must be a ViT, got {type(backbone).__name__}")
    write_native(backbone, Path(path))


def _recognise(file: WeightsFile) -> Layout:
    *_, last = LAYOUTS.values()
    return next((each for each in LAYOUTS.values() if each.recognises(file)), last)
