"""timm's DINOv3 (its class ``Eva``): a folder with config.json and the weights.

The sizes are read off the shapes; heads and periods are those of the architecture that config.json
names, unless its ``model_args`` say otherwise.

Source: timm, ``vit_small_patch16_dinov3`` and the like; Simeoni et al. 2025, arXiv:2508.10104.
Differs: dropout, stochastic depth and pooling are not taken over. Periods are in float32, as timm
    has them; the published ones are rounded to bfloat16.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import PatchwiseError, WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.fitting import Origin, build_vit
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.options import Options
from patchwise.models.weights.renaming import Names, no_key_bias

_SOURCE = "a DINOv3 ViT of timm"
_ARCHITECTURE = re.compile(r"vit_\w+_patch16_dinov3(_qkvb)?(\.\w+)?")
_PATCH = "patch_embed.proj.weight"
_HEAD_DIMS = {"vit_7b_patch16_dinov3": 128}  # 64 for all others
_REGISTERS, _BASE, _NORM_EPS = 4, 100.0, 1e-5
# Of model_args: what the shapes tell, what acts in training only, and what comes after the tokens.
_TOLD = {"embed_dim", "depth", "patch_size", "mlp_ratio", "img_size", "dynamic_img_size"}
_TRAINING = {"init_values", "drop_path_rate", "drop_rate", "proj_drop_rate", "attn_drop_rate"}
_AFTER = {"num_classes", "global_pool", "in_chans"}
_HONOURED = {"num_heads", "num_reg_tokens", "rope_temperature"}
_NAMES = Names(
    "blocks",
    {
        "cls_token": "cls_token",
        "register_tokens": "reg_token",
        "patch_embed.proj": "patch_embed.proj",
        "norm": "norm",
    },
    {
        "norm1": ("norm1",),
        "attn.qkv.weight": ("attn.qkv.weight",),
        "attn.qkv.bias": ("attn.q_bias", "attn.v_bias"),
        "attn.proj": ("attn.proj",),
        "ls1.gamma": ("gamma_1",),
        "norm2": ("norm2",),
        "mlp.fc1": ("mlp.fc1",),
        "mlp.fc2": ("mlp.fc2",),
        "mlp.w12": ("mlp.fc1_g", "mlp.fc1_x"),
        "mlp.w3": ("mlp.fc2",),
        "ls2.gamma": ("gamma_2",),
    },
)


def is_timm_dinov3(file: WeightsFile) -> bool:
    """Tell whether a file came with a config.json that names one of timm's DINOv3 ViTs."""
    return _ARCHITECTURE.fullmatch(str(file.config.get("architecture"))) is not None


def read_timm_dinov3(file: WeightsFile) -> Loaded:
    """Return the ViT of a folder that timm saved.

    Raises:
        WeightsError: An argument of the model cannot be honoured, or the weights do not fit.
    """
    tensors = file.tensors(_SOURCE)
    arguments = _arguments(file)
    config = _config(file, tensors, arguments)
    base, count = arguments.number("rope_temperature", _BASE), config.dim // config.heads // 4

    def origin(name: str) -> Origin:
        if name == "rope_embed.periods":
            return Origin((), lambda: base ** (torch.arange(count) / count))
        found = _NAMES.origin(name)
        return Origin(found.names, no_key_bias) if name.endswith("qkv.bias") else found

    fitted = build_vit(
        config, tensors, path=file.path, source=_SOURCE, origin=origin, unused=(r"head\..+",)
    )
    return Loaded(fitted.vit, _SOURCE, fitted.left_out)


def _arguments(file: WeightsFile) -> Options:
    found: Any = file.config.get("model_args") or {}
    unknown = set(found) - _TOLD - _TRAINING - _AFTER - _HONOURED
    if not isinstance(found, dict) or unknown:
        raise WeightsError(
            f"load_backbone: model_args in config.json of '{file.path}' must be arguments that "
            f"change no feature or {', '.join(sorted(_HONOURED))}, got "
            f"{', '.join(sorted(unknown)) or repr(found)}"
        )
    return Options(file.path, found)


def _config(file: WeightsFile, tensors: Mapping[str, Tensor], arguments: Options) -> ViTConfig:
    weight = tensors.get(_PATCH)
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        raise WeightsError(
            f"load_backbone: '{_PATCH}' of '{file.path}' must have shape (D, 3, patch, patch) "
            f"(read as {_SOURCE}), got {'none' if weight is None else tuple(weight.shape)}"
        )
    architecture = str(file.config["architecture"]).partition(".")[0]
    dim, patch_px = weight.shape[0], weight.shape[3]
    blocks = {found[1] for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))}
    gated = any(name.endswith(".mlp.fc1_g.weight") for name in tensors)
    hidden = tensors.get(f"blocks.0.mlp.fc1{'_g' if gated else ''}.weight")
    heads = dim // _HEAD_DIMS.get(architecture.removesuffix("_qkvb"), 64)
    try:
        return ViTConfig(
            dim=dim,
            depth=len(blocks),
            heads=arguments.count("num_heads", heads),
            patch_px=patch_px,
            image_px=14 * patch_px,  # rotary positions are stored for no size
            mlp_ratio=4.0 if hidden is None or hidden.ndim != 2 else hidden.shape[0] / dim,
            registers=arguments.count("num_reg_tokens", _REGISTERS),
            layer_scale=1.0,
            positions="rotary",
            mlp="swiglu" if gated else "gelu",
            qkv_bias="no_key" if architecture.endswith("_qkvb") else "none",
            norm_eps=_NORM_EPS,
        )
    except PatchwiseError as error:
        raise WeightsError(
            f"load_backbone: '{file.path}' must hold a possible ViT (read as {_SOURCE}), "
            f"got {error}"
        ) from error


TIMM_DINOV3 = Layout(_SOURCE, is_timm_dinov3, read_timm_dinov3)
