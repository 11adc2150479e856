"""Bare dicts of ViT weights, as DINO published its backbones; timm uses the same names.

Such a file does not say what it is: the architecture is read off the shapes. LayerScale and
registers are taken up where their weights are there.

Source: Caron et al. 2021, arXiv:2104.14294, ``dino_deitsmall16_pretrain.pth`` and the like.
Differs: heads cannot be read off; 64 channels a head are assumed, as in all published ones, and
    widths that none of them has are refused. Resizing of positions is DINO's, with registers
    DINOv2's; timm resizes by "size-antialias".
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import PatchwiseError, WeightsError
from patchwise.models.weights.files import WeightsFile, first_names
from patchwise.models.weights.fitting import build_vit
from patchwise.models.weights.layout import Layout, Loaded

_SOURCE = "a bare dict of ViT weights"
_HEAD_DIM = 64
_LEAST_DIM = 192  # of a published ViT; smaller ones have heads of fewer than 64 channels
_PATCH, _POSITIONS = "patch_embed.proj.weight", "pos_embed"


def has_vit_keys(file: WeightsFile) -> bool:
    """Tell whether the file holds weights of a ViT under their plain names."""
    return _PATCH in file.contents and _POSITIONS in file.contents


def read_vit_keys(file: WeightsFile) -> Loaded:
    """Return the ViT whose weights the file holds under their plain names.

    Raises:
        WeightsError: the names are wrapped or prefixed, or the weights make up no ViT.
    """
    tensors = file.tensors(_SOURCE)
    _refuse_prefix(tensors, file.path)
    config = _infer_config(tensors, file.path)
    fitted = build_vit(config, tensors, path=file.path, source=_SOURCE)
    return Loaded(fitted.vit, _SOURCE, fitted.left_out)


def _refuse_prefix(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name in tensors:
        prefix = name.removesuffix(_PATCH)
        if prefix not in {"", name}:
            raise WeightsError(
                f"load_backbone: names in '{path}' must have no prefix (read as {_SOURCE}), "
                f"got '{prefix}' before '{_PATCH}'"
            )


def _infer_config(tensors: Mapping[str, Tensor], path: Path) -> ViTConfig:
    missing = [name for name in (_PATCH, _POSITIONS) if name not in tensors]
    if missing:
        raise WeightsError(
            f"load_backbone: '{path}' must tell its architecture (read as {_SOURCE}), "
            f"got missing {first_names(missing)} among {first_names(list(tensors))}"
        )
    dim, patch_px = _patch_shape(tensors[_PATCH], path)
    # Of a wrong number of axes, these two are left to the comparison of shapes, which names them.
    registers = _length(tensors.get("register_tokens"), axis=1, axes=3)
    hidden_dim = _length(tensors.get("blocks.0.mlp.fc1.weight"), axis=0, axes=2)
    blocks = {found[1] for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))}
    try:
        return ViTConfig(
            dim=dim,
            depth=len(blocks),
            heads=dim // _HEAD_DIM,
            patch_px=patch_px,
            image_px=_stored_side(tensors[_POSITIONS], path) * patch_px,
            mlp_ratio=4.0 if hidden_dim is None else hidden_dim / dim,
            registers=registers or 0,
            layer_scale=1.0 if any(".ls" in name for name in tensors) else 0.0,
            interpolation="size-antialias" if registers else "dino",
        )
    except PatchwiseError as error:
        raise WeightsError(
            f"load_backbone: '{path}' must hold a possible ViT (read as {_SOURCE}), got {error}"
        ) from error


def _length(weight: Tensor | None, *, axis: int, axes: int) -> int | None:
    return weight.shape[axis] if weight is not None and weight.ndim == axes else None


def _patch_shape(weight: Tensor, path: Path) -> tuple[int, int]:
    """Return channels and patch side."""
    shape = tuple(weight.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise WeightsError(
            f"load_backbone: '{_PATCH}' of '{path}' must have shape (D, 3, patch, patch) "
            f"(read as {_SOURCE}), got {shape}"
        )
    if shape[0] % _HEAD_DIM or shape[0] < _LEAST_DIM:
        raise WeightsError(
            f"load_backbone: dim of '{path}' must be a multiple of {_HEAD_DIM} and at least "
            f"{_LEAST_DIM} (read as {_SOURCE}), got {shape[0]}; the number of heads cannot be told"
        )
    return shape[0], shape[2]


def _stored_side(positions: Tensor, path: Path) -> int:
    shape = tuple(positions.shape)
    side = math.isqrt(max(shape[1] - 1, 0)) if len(shape) == 3 else 0
    if side < 1 or shape[1] != 1 + side**2:
        raise WeightsError(
            f"load_backbone: '{_POSITIONS}' of '{path}' must have shape (1, 1 + side * side, D) "
            f"(read as {_SOURCE}), got {shape}"
        )
    return side


VIT_KEYS = Layout(_SOURCE, has_vit_keys, read_vit_keys)
