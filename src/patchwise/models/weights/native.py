"""Our own format: one safetensors file that holds the weights and all that is needed to use them.

The metadata has one entry, ``patchwise``: JSON with ``format_version``, ``kind`` of model, ``vit``
or ``filtered_vit``, and ``config``, the fields of its configuration. Version 1 did not yet have the
options that are named in `_ADDED`; its files have their defaults.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch

from patchwise.configs.backbone import FilteredViTConfig, ViTConfig
from patchwise.errors import PatchwiseError, WeightsError
from patchwise.files import atomic_path
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile, first_names
from patchwise.models.weights.fitting import build, check_finite
from patchwise.models.weights.layout import Layout, Loaded

Config = TypeVar("Config", ViTConfig, FilteredViTConfig)

_ENTRY = "patchwise"
_VERSION = 2
# To the options, in version 2.
_ADDED = ("positions", "mlp", "qkv_bias", "norm_eps", "pixel_mean", "pixel_std")
_PLAIN, _FILTERED = "vit", "filtered_vit"  # kinds
_SOURCE = "a patchwise backbone"


def is_native(file: WeightsFile) -> bool:
    """Tell whether the file is of this format, in whatever version."""
    return _ENTRY in file.metadata


def read_native(file: WeightsFile) -> Loaded:
    """Return the backbone of a file that `write_native` wrote.

    Raises:
        WeightsError: version, kind or configuration cannot be used, or the weights do not fit.
    """
    header = _parse_header(file)
    known = [field.name for field in fields(ViTConfig)]
    if header["format_version"] == 1:
        known = [name for name in known if name not in _ADDED]
    make = _maker(header["kind"], header["config"], file.path, known)
    backbone, _ = build(make, file.tensors(_SOURCE), path=file.path, source=_SOURCE)
    return Loaded(backbone, _SOURCE)


def write_native(backbone: ViT | FilteredViT, path: Path) -> None:
    """Write weights and architecture. An older file is replaced whole or, on failure, kept.

    Raises:
        WeightsError: a weight is not finite, or the file cannot be written.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(f"save_backbone: path must end in .safetensors, got '{path}'")
    weights = {  # clones, for safetensors refuses weights that share memory
        name: weight.detach().cpu().contiguous().clone()
        for name, weight in backbone.state_dict().items()
    }
    check_finite("save_backbone", weights, path=path)
    kind = _PLAIN if isinstance(backbone, ViT) else _FILTERED
    header = {"format_version": _VERSION, "kind": kind, "config": asdict(backbone.config)}
    metadata = {_ENTRY: json.dumps(header, sort_keys=True)}
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(safetensors.torch.save(weights, metadata))
    except OSError as error:
        raise WeightsError(
            f"save_backbone: '{path}' must be a place that can be written to, got {error}"
        ) from error


def _parse_header(file: WeightsFile) -> Mapping[str, Any]:
    if not is_native(file):
        raise WeightsError(
            f"load_backbone: '{file.path}' must have metadata of '{_ENTRY}' (read as {_SOURCE}), "
            f"got {first_names(list(file.metadata)) or 'none'}; only `save_backbone` writes them"
        )
    try:
        header: dict[str, Any] = json.loads(file.metadata[_ENTRY])
    except (json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(
            f"load_backbone: metadata of '{file.path}' must be JSON, got {error}"
        ) from error
    for name in ("format_version", "kind", "config"):
        if not isinstance(header, dict) or name not in header:
            raise WeightsError(
                f"load_backbone: metadata of '{file.path}' must have the field '{name}', "
                f"got {header!r}"
            )
    if header["format_version"] not in range(1, _VERSION + 1):
        raise WeightsError(
            f"load_backbone: '{file.path}' must have a format version of at most {_VERSION}, "
            f"got {header['format_version']!r}; use the patchwise version that wrote it or a newer"
        )
    if header["kind"] not in (_PLAIN, _FILTERED):
        raise WeightsError(
            f"load_backbone: '{file.path}' must be of kind '{_PLAIN}' or '{_FILTERED}', "
            f"got {header['kind']!r}"
        )
    return header


def _maker(
    kind: str, values: object, path: Path, known: Sequence[str]
) -> Callable[[], ViT | FilteredViT]:
    """Return what makes a backbone of the header's configuration; ``known``: the ViT's options."""
    if kind == _PLAIN:
        config = _parse_config(ViTConfig, path, values, known)
        return lambda: ViT(config)
    if isinstance(values, dict) and "vit" in values:
        values = {**values, "vit": _parse_config(ViTConfig, path, values["vit"], known)}
    options = [field.name for field in fields(FilteredViTConfig)]
    filtered = _parse_config(FilteredViTConfig, path, values, options)
    return lambda: FilteredViT(ViT(filtered.vit), filtered.prototypes)


def _parse_config(
    kind: Callable[..., Config], path: Path, values: object, known: Sequence[str]
) -> Config:
    if not isinstance(values, dict):
        raise WeightsError(
            f"load_backbone: config of '{path}' must be a table of options, got {values!r}"
        )
    wrong = sorted(set(known) ^ set(values))
    if wrong:
        raise WeightsError(
            f"load_backbone: config of '{path}' must have the options {', '.join(known)}, "
            f"got {first_names(wrong)} missing or unknown"
        )
    try:
        # JSON has lists for tuples.
        return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})
    except (PatchwiseError, TypeError) as error:
        raise WeightsError(
            f"load_backbone: config of '{path}' must be valid, got {values}; {error}"
        ) from error


NATIVE = Layout(_SOURCE, is_native, read_native)
