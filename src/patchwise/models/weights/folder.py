"""A folder of weights: a run of ours, or one as transformers and timm save a model."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile, first_names, read_weights_file

CONFIG = "config.json"
PREPROCESSING = "preprocessor_config.json"  # of transformers: how images are normalised
SHARDS = "model.safetensors.index.json"  # says which file of several holds which tensor
# In the order in which they are looked for: of several, the first is read.
WEIGHTS = ("backbone.safetensors", "model.safetensors", SHARDS, "pytorch_model.bin")


def find_weights(folder: Path) -> Path:
    """Return the file of a folder that holds its weights, or says which files do.

    Raises:
        WeightsError: There is none.
    """
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        there = sorted(path.name for path in folder.iterdir())
        raise WeightsError(
            f"load_backbone: the folder '{folder}' must hold {', '.join(WEIGHTS[:-1])} or "
            f"{WEIGHTS[-1]}, got {first_names(there) or 'an empty folder'}; or name a weights file"
        )
    return found


def read_folder(folder: Path) -> WeightsFile:
    """Read the weights of a folder into memory, with what the files beside them say of them.

    Those are config.json and preprocessor_config.json, where there are such.

    Raises:
        WeightsError: There are no weights, or one of the files is broken or would run code.
    """
    path = find_weights(folder)
    file = _read_shards(path) if path.name == SHARDS else read_weights_file(path)
    config, preprocessing = (
        _read_json(path) if (path := folder / name).is_file() else {}
        for name in (CONFIG, PREPROCESSING)
    )
    return replace(file, config=config, preprocessing=preprocessing)


def _read_shards(index: Path) -> WeightsFile:
    table = _read_json(index).get("weight_map")
    found = list(table.values()) if isinstance(table, dict) else []
    outside = [n for n in found if not isinstance(n, str) or Path(n).name != n]
    if not found or outside:
        raise WeightsError(
            f"load_backbone: weight_map of '{index}' must name files beside it, got "
            f"{first_names([str(name) for name in outside]) or repr(table)}"
        )
    contents: dict[Any, object] = {}
    for name in sorted(set(found)):
        part = read_weights_file(index.parent / name).contents
        twice = [str(weight) for weight in part if weight in contents]
        if twice:
            raise WeightsError(
                f"load_backbone: files of '{index}' must hold every weight once, got "
                f"{first_names(twice)} again in '{name}'"
            )
        contents |= part
    return WeightsFile(index, contents)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"load_backbone: '{path}' must be JSON, got {error}") from error
    if not isinstance(table, dict):
        raise WeightsError(f"load_backbone: '{path}' must be a table of options, got {table!r}")
    return table
