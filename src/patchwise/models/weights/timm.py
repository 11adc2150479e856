"""timm's vision transformers: bare dicts of a plain ViT and more, by timm's own names.

Beside a plain ViT there may be a classifier (left out), LayerScale, registers (``reg_token``),
gated hidden layers and queries, keys and values without bias. ``pos_embed`` may hold places of
CLS, registers and patches, of CLS and patches, or of patches alone; the place of what is no patch
is added to its token here.

Without a classifier, LayerScale or registers a file cannot be told from DINO's, which resizes
positions otherwise: name the layout.

Beside a folder's config.json, they say how images are normalised; alone they do not: by ImageNet's
mean and deviation, then.

Source: https://github.com/huggingface/pytorch-image-models, ``vision_transformer.py``.
Differs: models that normalise after pooling (``fc_norm``) have no normalised patch features; like
    those with a norm before the blocks, they are refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.fitting import Origin, same_name
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.preprocessing import read_pretrained_cfg, with_normalisation
from patchwise.models.weights.unwrap import has_blocks, names_in
from patchwise.models.weights.vit_keys import Heads, ViTKeys, heads_by_width

_SOURCE = "timm's weights"
# Of all vision transformers with CLS in timm 1.0.
_HEADS = heads_by_width(
    {192: 3, 384: 6, 768: 12, 896: 14, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1536: 24, 1664: 16}
)
_UNUSED = (r"head\.(weight|bias)",)
_REGISTERS, _POSITIONS = "reg_token", "pos_embed"


def is_timm(file: WeightsFile) -> bool:
    """Tell whether the file holds a ViT with marks that DINO's backbones do not have."""
    marks = {_REGISTERS, "head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    return has_blocks(file) and any(
        name in marks or name.endswith((".ls1.gamma", ".ls2.gamma")) for name in names_in(file)
    )


def read_timm(file: WeightsFile, heads: Heads = _HEADS) -> Loaded:
    """Return the backbone of a file of timm.

    Args:
        file: Of the weights.
        heads: How many there are, where that is known better than by the width.

    Raises:
        WeightsError: It is no file of timm, or the weights make up no ViT of ours.
    """
    keys = ViTKeys(file.path, _SOURCE, file.tensors(_SOURCE))
    front = _Front.of(keys)
    config = replace(
        keys.infer_config(heads, learned=False),
        interpolation="size-antialias",
        registers=front.registers,
    )
    config = with_normalisation(config, read_pretrained_cfg(file))
    with keys.possible():
        config = replace(config, image_px=front.side * config.patch_px)
        if not keys.any_named(r"blocks\.\d+\.attn\.qkv\.bias"):
            config = replace(config, qkv_bias="none")
        config = _with_gates(config, keys)
    return keys.load(config, origin=_origins(front, config), unused=_UNUSED)


@dataclass(frozen=True)
class _Front:
    """What stands before the patches, and how much of it has a place."""

    registers: int
    side: int  # patches along a side of the stored grid
    placed: int  # tokens before the patches that ``pos_embed`` begins with

    @classmethod
    def of(cls, keys: ViTKeys) -> "_Front":
        """Read it off the shapes.

        Raises:
            WeightsError: The number of places fits no square grid.
        """
        keys.require(_POSITIONS)
        registers = keys.length(_REGISTERS, axis=1, axes=3) or 0
        places = keys.length(_POSITIONS, axis=1, axes=3) or 0
        for placed in dict.fromkeys((0, 1, 1 + registers)):
            side = math.isqrt(max(0, places - placed))
            if side and side**2 + placed == places:
                return cls(registers, side, placed)
        shapes = {n: tuple(t.shape) for n, t in keys.tensors.items() if "." not in n}
        raise WeightsError(
            f"load_backbone: '{_POSITIONS}' of '{keys.path}' must hold a square grid, alone or "
            f"after CLS, or after CLS and '{_REGISTERS}' (read as {_SOURCE}), got {shapes}"
        )


def _with_gates(config: ViTConfig, keys: ViTKeys) -> ViTConfig:
    """Return the architecture with gated layers, where the first is twice the second."""
    first = keys.length("blocks.0.mlp.fc1.weight", axis=0, axes=2)
    second = keys.length("blocks.0.mlp.fc2.weight", axis=1, axes=2)
    if first is None or second is None or first != 2 * second:
        return config
    return replace(config, mlp="swiglu", mlp_ratio=second / config.dim)


def _origins(front: _Front, config: ViTConfig) -> Callable[[str], Origin]:
    def positions(stored: Tensor) -> Tensor:
        patches = stored[:, front.placed :]
        cls = stored[:, :1] if front.placed else torch.zeros_like(stored[:, :1])
        return torch.cat([cls, patches], dim=1)

    def registers(tokens: Tensor, stored: Tensor) -> Tensor:
        return tokens + stored[:, 1 : front.placed]

    def origin(name: str) -> Origin:
        if name == _POSITIONS:
            return Origin((_POSITIONS,), positions)
        if name == "register_tokens":
            placed = front.placed > 1
            return Origin((_REGISTERS, _POSITIONS), registers) if placed else Origin((_REGISTERS,))
        if config.mlp == "swiglu":
            name = name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
        return same_name(name)

    return origin


TIMM = Layout("timm", is_timm, read_timm)
