"""timm's DINOv3 (its class ``Eva``), of which config.json must be known.

The sizes are read off the shapes; heads, registers and periods are those of the architecture that
it names, unless its ``model_args`` say otherwise.

Source: timm, ``vit_small_patch16_dinov3`` and the like; Simeoni et al. 2025, arXiv:2508.10104.
Differs: dropout, stochastic depth and pooling are not taken over. Periods are in float32, as timm
    has them; the published ones are rounded to bfloat16.
"""

import re
from dataclasses import replace

import torch

from patchwise.configs.backbone import ViTConfig
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.fitting import Origin
from patchwise.models.weights.layout import Loaded
from patchwise.models.weights.options import Options
from patchwise.models.weights.preprocessing import read_pretrained_cfg, with_normalisation
from patchwise.models.weights.renaming import Names, no_key_bias
from patchwise.models.weights.vit_keys import Heads, ViTKeys

_SOURCE = "a DINOv3 ViT of timm"
_ARCHITECTURE = re.compile(r"vit_\w+_patch16_dinov3(_qkvb)?(\.\w+)?")
_HEAD_DIMS = {"vit_7b_patch16_dinov3": 128}  # 64 for all others
_REGISTERS, _BASE, _NORM_EPS = 4, 100.0, 1e-5
ARGUMENTS = frozenset({"num_heads", "num_reg_tokens", "rope_temperature"})  # that are honoured
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


def is_timm_dinov3(architecture: object) -> bool:
    """Tell whether that is the name of one of timm's DINOv3 ViTs."""
    return isinstance(architecture, str) and _ARCHITECTURE.fullmatch(architecture) is not None


def read_timm_dinov3(file: WeightsFile, arguments: Options) -> Loaded:
    """Return the ViT of a folder that timm saved.

    Args:
        file: Of the weights, with its config.json.
        arguments: Of the model, as far as they differ from those of its architecture.

    Raises:
        WeightsError: An argument cannot be honoured, or the weights do not fit.
    """
    keys = ViTKeys(file.path, _SOURCE, file.tensors(_SOURCE))
    config = _config(keys, str(file.config["architecture"]).partition(".")[0], arguments)
    config = with_normalisation(config, read_pretrained_cfg(file))
    base, count = arguments.number("rope_temperature", _BASE), config.dim // config.heads // 4

    def origin(name: str) -> Origin:
        if name == "rope_embed.periods":
            return Origin((), lambda: base ** (torch.arange(count) / count))
        found = _NAMES.origin(name)
        return Origin(found.names, no_key_bias) if name.endswith("qkv.bias") else found

    return keys.load(config, origin=origin, unused=(r"head\.(weight|bias)",))


def _config(keys: ViTKeys, architecture: str, arguments: Options) -> ViTConfig:
    head_dim = _HEAD_DIMS.get(architecture.removesuffix("_qkvb"), 64)

    def count_heads(dim: int) -> int:
        return arguments.count("num_heads", dim // head_dim)

    config = keys.infer_config(Heads("the width of its heads", count_heads), learned=False)
    gated = keys.any_named(r"blocks\.\d+\.mlp\.fc1_g\.weight")
    hidden_dim = keys.length("blocks.0.mlp.fc2.weight", axis=1, axes=2)
    with keys.possible():
        return replace(
            config,
            mlp_ratio=config.mlp_ratio if hidden_dim is None else hidden_dim / config.dim,
            registers=arguments.count("num_reg_tokens", _REGISTERS),
            layer_scale=1.0,
            positions="rotary",
            mlp="swiglu" if gated else "gelu",
            qkv_bias="no_key" if architecture.endswith("_qkvb") else "none",
            norm_eps=_NORM_EPS,
        )
