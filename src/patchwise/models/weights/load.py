"""Loading and saving of backbones."""

from pathlib import Path

from patchwise.checks import check_choice
from patchwise.configs.normalisation import IMAGENET
from patchwise.errors import ConfigError, WeightsError
from patchwise.models.backbone import Backbone
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights.cotap import COTAP
from patchwise.models.weights.dino import DINO
from patchwise.models.weights.dinov2 import DINOV2
from patchwise.models.weights.dinov3 import DINOV3
from patchwise.models.weights.files import WeightsFile, first_names, read_weights_file
from patchwise.models.weights.folder import read_folder
from patchwise.models.weights.hub import download, names_hub
from patchwise.models.weights.huggingface import HUGGINGFACE
from patchwise.models.weights.ibot import IBOT
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.leopart import LEOPART
from patchwise.models.weights.mae import MAE
from patchwise.models.weights.mocov3 import MOCOV3
from patchwise.models.weights.mugs import MUGS
from patchwise.models.weights.native import NATIVE, write_native
from patchwise.models.weights.timm import TIMM
from patchwise.models.weights.timm_folder import TIMM_FOLDER

# In the order in which they are tried: marks of a family's own first, names that all share last.
# The last one names what is wrong with other files.
LAYOUTS: dict[str, Layout] = {
    "patchwise": NATIVE,
    "huggingface": HUGGINGFACE,
    "timm-folder": TIMM_FOLDER,
    "dinov3": DINOV3,
    "dinov2": DINOV2,
    "timm": TIMM,
    "mae": MAE,
    "mocov3": MOCOV3,
    "cotap": COTAP,
    "leopart": LEOPART,
    "mugs": MUGS,
    "ibot": IBOT,
    "dino": DINO,
}


def load_backbone(path: str | Path, *, layout: str | None = None) -> ViT | FilteredViT:
    """Return the backbone of a weights file, in evaluation mode, float32, on the CPU.

    Args:
        path: ``backbone.safetensors`` as `save_backbone` writes it, or weights as others publish
            them, see `LAYOUTS`; the folder of a run, or one of transformers or timm; or
            ``"hub:OWNER/NAME"``, see `download`. As text it may name the layout:
            ``"timm:weights.pth"``.
        layout: One of `LAYOUTS`; None: the first that recognises the file.

    Raises:
        WeightsError: the file cannot be read, or it is none of these formats, or anything in it
            is missing, left over, of another shape or not finite.
        ChoiceError: There is no such layout.
        ConfigError: The path names another layout.
    """
    return read_backbone(path, layout=layout).backbone


def read_backbone(source: str | Path, *, layout: str | None = None) -> Loaded:
    """Return the backbone of a weights file, as `load_backbone` does, and what is known of it."""
    named, path = split_source(source)
    if layout is not None:
        check_choice("load_backbone", LAYOUTS, layout=layout)
    if named is not None and layout not in {None, named}:
        raise ConfigError(
            f"load_backbone: layout must be left out where the path names one, got layout "
            f"{layout!r} and path {str(source)!r}"
        )
    file = _open(path)
    chosen = named or layout
    return (recognise(file) if chosen is None else LAYOUTS[chosen]).read(file)


def split_source(source: str | Path) -> tuple[str | None, Path]:
    """Return layout and path of a text ``layout:path``.

    Only names of `LAYOUTS` count, and only where there is no file of the whole name; a `Path` is a
    path. Layout None: it is not named.
    """
    path = Path(source).expanduser()
    if isinstance(source, str) and not path.exists():
        name, colon, rest = source.partition(":")
        if colon and name in LAYOUTS:
            return name, Path(rest).expanduser()
    return None, path


def describe_loaded(loaded: Loaded) -> str | None:
    """Return in a line how others' weights were read; None for our own."""
    if loaded.layout == NATIVE.title:
        return None
    rest = f"; left out {first_names(list(loaded.left_out))}" if loaded.left_out else ""
    used = loaded.vit.normalisation
    pixels = "" if used == IMAGENET else f"; images normalised by {used.mean} and {used.std}"
    return f"weights read as {loaded.layout}{rest}{pixels}"


def save_backbone(backbone: Backbone, path: str | Path) -> None:
    """Write weights and architecture into one .safetensors file, whole or not at all.

    Raises:
        WeightsError: ``backbone`` is no ViT, filtered or not, or has weights that are not finite,
            or the file cannot be written.
    """
    if not isinstance(backbone, (ViT, FilteredViT)):
        raise WeightsError(
            f"save_backbone: backbone must be a ViT or a FilteredViT, got {type(backbone).__name__}"
        )
    write_native(backbone, Path(path))


def _open(path: Path) -> WeightsFile:
    folder = download(str(path)) if names_hub(str(path)) else path
    return read_folder(folder) if folder.is_dir() else read_weights_file(folder)


def recognise(file: WeightsFile) -> Layout:
    """Return the first layout that a file may have, or else the last one."""
    *_, last = LAYOUTS.values()
    return next((each for each in LAYOUTS.values() if each.recognises(file)), last)
