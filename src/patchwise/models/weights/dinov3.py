"""DINOv3's published backbones: bare dicts of ViTs with rotary positions.

- The bias of queries, keys and values is multiplied by ``bias_mask``, which shall be 0 for keys
  and 1 elsewhere. In the files that were published it is 0 throughout, and so is the bias.
- The hidden layers of the larger ones are gated, with the two first weights apart.
- The 7B model has no such bias. It and those trained on satellite images have ``local_cls_norm``,
  for small crops in training only, as is ``mask_token``.

Source: Simeoni et al. 2025, arXiv:2508.10104, and https://github.com/facebookresearch/dinov3, whose
    hub builds all of them with LayerNorms of eps 1e-5.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from patchwise.configs.backbone import QKVBias, ViTConfig
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.fitting import Origin, same_name
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import names_in
from patchwise.models.weights.vit_keys import Heads, ViTKeys

_SOURCE = "DINOv3's backbone"
_PERIODS = "rope_embed.periods"
_REGISTERS = 4  # of all that are published
_UNUSED = ("mask_token", r"local_cls_norm\.(weight|bias)")


def is_dinov3(file: WeightsFile) -> bool:
    """Tell whether the file holds weights that only DINOv3 has under these names."""
    marks = {_PERIODS, "storage_tokens"}
    return any(name in marks or name.endswith(".bias_mask") for name in names_in(file))


def read_dinov3(file: WeightsFile) -> Loaded:
    """Return the backbone of a file of DINOv3.

    Raises:
        WeightsError: It is no file of DINOv3, or the weights make up no ViT.
    """
    keys = ViTKeys(file.path, _SOURCE, file.tensors(_SOURCE))
    masked = keys.any_named(r"blocks\.\d+\.attn\.qkv\.bias_mask")
    return keys.load(_infer_config(keys), origin=_origins(masked), unused=_UNUSED)


def _infer_config(keys: ViTKeys) -> ViTConfig:
    config = keys.infer_config(_heads(keys), learned=False)
    registers = keys.length("storage_tokens", axis=1, axes=3)
    with keys.possible():
        config = replace(
            config,
            registers=_REGISTERS if registers is None else registers,
            positions="rotary",
            qkv_bias=_qkv_bias(keys),
            norm_eps=1e-5,
        )
        if keys.any_named(r"blocks\.\d+\.mlp\.w[12]\.weight"):
            hidden_dim = keys.length("blocks.0.mlp.w3.weight", axis=1, axes=2)
            ratio = config.mlp_ratio if hidden_dim is None else hidden_dim / config.dim
            config = replace(config, mlp="swiglu", mlp_ratio=ratio)
    return config


def _heads(keys: ViTKeys) -> Heads:
    """Return the rule that every head has four channels for each period."""
    periods = keys.length(_PERIODS, axis=0, axes=1) or 16  # 16: missing, which will be said
    return Heads(
        f"a multiple of {4 * periods}, four for each of '{_PERIODS}'",
        lambda dim: dim // (4 * periods) if dim and dim % (4 * periods) == 0 else None,
    )


def _qkv_bias(keys: ViTKeys) -> QKVBias:
    if not keys.any_named(r"blocks\.\d+\.attn\.qkv\.bias(_mask)?"):
        return "none"
    masks = [t for name, t in keys.tensors.items() if name.endswith(".attn.qkv.bias_mask")]
    return "no_key" if masks and all(_hides_keys(mask) for mask in masks) else "full"


def _hides_keys(mask: Tensor) -> bool:
    """Tell whether a mask is 0 for keys, whatever it is for others."""
    if mask.ndim != 1 or len(mask) % 3:
        return False  # its shape will be said
    return not mask.chunk(3)[1].any()


def _product(bias: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([bias, mask]).prod(dim=0)  # shapes that differ raise an error here


def _origins(masked: bool) -> Callable[[str], Origin]:
    def origin(name: str) -> Origin:
        if name == "register_tokens":
            return Origin(("storage_tokens",))
        if ".mlp.w12." in name:
            return Origin(tuple(name.replace("w12", part) for part in ("w1", "w2")))
        if masked and name.endswith(".attn.qkv.bias"):
            return Origin((name, f"{name}_mask"), _product)
        return same_name(name)

    return origin


DINOV3 = Layout("DINOv3", is_dinov3, read_dinov3)
