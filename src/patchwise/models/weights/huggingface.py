"""Folders as transformers saves its models: config.json says which model it is."""

from collections.abc import Callable

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.huggingface_dinov2 import WITH_REGISTERS, read_huggingface_dinov2
from patchwise.models.weights.huggingface_dinov3 import read_huggingface_dinov3
from patchwise.models.weights.huggingface_vit import read_huggingface_vit
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.transformers_config import read_options

_SOURCE = "a model of transformers"
_READERS: dict[str, Callable[[WeightsFile], Loaded]] = {
    "vit": read_huggingface_vit,
    "vit_mae": read_huggingface_vit,
    "vit_msn": read_huggingface_vit,
    "dinov2": read_huggingface_dinov2,
    WITH_REGISTERS: read_huggingface_dinov2,
    "dinov3_vit": read_huggingface_dinov3,
}


def is_huggingface(file: WeightsFile) -> bool:
    """Tell whether a file came with transformers' config.json, or has its names."""
    return "model_type" in file.config or any(
        isinstance(name, str) and "embeddings.patch_embeddings." in name for name in file.contents
    )


def read_huggingface(file: WeightsFile) -> Loaded:
    """Return the ViT of a model of transformers.

    Raises:
        WeightsError: There is no config.json, or it names another model or options that cannot be
            honoured, or the weights do not fit.
    """
    kind = read_options(file, _SOURCE).values.get("model_type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise WeightsError(
            f"load_backbone: model_type in config.json of '{file.path}' must be one of "
            f"{', '.join(_READERS)}, got {kind!r}"
        )
    return reader(file)


HUGGINGFACE = Layout(_SOURCE, is_huggingface, read_huggingface)
