"""Models of the Hugging Face hub: ``hub:OWNER/NAME``, or ``hub:OWNER/NAME@REVISION``.

Only what is named so is ever looked for there. Files come into huggingface_hub's own cache, where
they are found again, also without a network.
"""

import re
from pathlib import Path

from patchwise.errors import WeightsError
from patchwise.models.weights.folder import CONFIG, PREPROCESSING, SHARDS, WEIGHTS

PREFIX = "hub:"
_NAMED = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_DESCRIBED = (CONFIG, PREPROCESSING)
_SAFE = tuple(name for name in WEIGHTS if name.endswith(".safetensors"))
_SHARDED = (SHARDS, "model-*-of-*.safetensors")
_PICKLED = tuple(name for name in WEIGHTS if name.endswith(".bin"))  # read as tensors only


def names_hub(text: str) -> bool:
    """Tell whether a text asks for a model of the hub."""
    return text.startswith(PREFIX)


def download(text: str) -> Path:
    """Return the folder of a model of the hub, downloaded where it is not in the cache.

    Fetches config.json, preprocessor_config.json and safetensors; where there are none,
    pytorch_model.bin.

    Raises:
        WeightsError: It is no such name, huggingface_hub is not installed, or the files are neither
            in the cache nor can they be downloaded.
    """
    found = _NAMED.fullmatch(text)
    if found is None:
        raise WeightsError(
            f"load_backbone: a model of the hub must be named hub:OWNER/NAME or "
            f"hub:OWNER/NAME@REVISION, got {text!r}"
        )
    folder = _fetch(found["name"], found["revision"], [*_DESCRIBED, *_SAFE, *_SHARDED])
    if not any((folder / name).is_file() for name in (*_SAFE, SHARDS)):
        folder = _fetch(found["name"], found["revision"], [*_DESCRIBED, *_PICKLED])
    return folder


def _fetch(name: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415
    except ImportError as error:
        raise WeightsError(
            f"load_backbone: huggingface_hub must be installed for models of the hub, got "
            f"{PREFIX}{name} without it; install patchwise[hub], or download the model's folder "
            f"and give its path"
        ) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # of the name, the network, the hub or the disk
        lines = str(error).strip().splitlines() or [""]
        raise WeightsError(
            f"load_backbone: {PREFIX}{name} must be in the cache or on the hub, got "
            f"{type(error).__name__} {lines[0]}; check name and network, or download the model's "
            f"folder and give its path"
        ) from error
