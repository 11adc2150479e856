"""transformers' DINOv3ViT: config.json and its weights.

Names are those in which files are published and transformers saves, or those of its modules, which
say ``model.layer`` for ``layer``.

Source: transformers, ``DINOv3ViTModel``; Simeoni et al. 2025, arXiv:2508.10104.
Differs: dropout, stochastic depth, random shifts of places and the initial values of weights are
    not taken over.
"""

from dataclasses import replace

import torch
from torch import Tensor

from patchwise.configs.backbone import QKVBias, ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.fitting import Origin
from patchwise.models.weights.layout import Loaded
from patchwise.models.weights.options import Options
from patchwise.models.weights.preprocessing import read_preprocessor, with_normalisation
from patchwise.models.weights.renaming import Names, empty_names, no_key_bias, prefix_among
from patchwise.models.weights.transformers_config import make_config, read_options
from patchwise.models.weights.vit_keys import ViTKeys

_SOURCE = "a DINOv3 ViT of transformers"
_PUBLISHED = Names(
    "layer",
    {
        "cls_token": "embeddings.cls_token",
        "register_tokens": "embeddings.register_tokens",
        "patch_embed.proj": "embeddings.patch_embeddings",
        "norm": "norm",
    },
    {
        "norm1": ("norm1",),
        "attn.qkv": tuple(f"attention.{part}_proj" for part in "qkv"),
        "attn.proj": ("attention.o_proj",),
        "ls1.gamma": ("layer_scale1.lambda1",),
        "norm2": ("norm2",),
        "mlp.fc1": ("mlp.up_proj",),
        "mlp.fc2": ("mlp.down_proj",),
        "mlp.w12": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.w3": ("mlp.down_proj",),
        "ls2.gamma": ("layer_scale2.lambda1",),
    },
)
_PREFIXES = ("dinov3_vit.", "model.")
# Which of queries, keys and values have a bias.
_BIASES: dict[tuple[bool, bool, bool], QKVBias] = {
    (True, True, True): "full",
    (True, False, True): "no_key",
    (False, False, False): "none",
}


def read_huggingface_dinov3(file: WeightsFile) -> Loaded:
    """Return the ViT of a folder, or of a model for a task that is built on it.

    Raises:
        WeightsError: An option of config.json cannot be honoured, or the weights do not fit.
    """
    options = read_options(file, _SOURCE)
    config = with_normalisation(_config(options), read_preprocessor(file))
    tensors = file.tensors(_SOURCE)
    prefix = prefix_among(tensors, _PREFIXES, "embeddings.")
    by_modules = any(name.startswith(f"{prefix}model.layer.") for name in tensors)
    names = replace(_PUBLISHED, blocks="model.layer" if by_modules else "layer")
    base, count = options.number("rope_theta", 100), config.dim // config.heads // 4

    def periods() -> Tensor:  # as they are computed there
        return base ** torch.arange(0, 1, 1 / count, dtype=torch.float32)

    def origin(name: str) -> Origin:
        if name == "rope_embed.periods":
            return Origin((), periods)
        found = names.origin(name)
        if config.qkv_bias == "no_key" and name.endswith("attn.qkv.bias"):
            query, _, value = found.names
            return Origin((query, value), no_key_bias)
        return found

    # Where there are no registers, a tensor without any is saved all the same.
    unused = [r".*embeddings\.mask_token", r"classifier\..+", *empty_names(tensors)]
    return ViTKeys(file.path, _SOURCE, tensors, prefix).load(config, origin=origin, unused=unused)


def _config(options: Options) -> ViTConfig:
    gated = options.flag("use_gated_mlp", False)
    act = ("silu", "where the MLP is gated") if gated else ("gelu", "the exact GELU")
    options.require("hidden_act", *act, default="gelu")
    for name in ("proj_bias", "mlp_bias"):
        options.require(name, True, "a bias")
    biases = (
        options.flag("query_bias", True),
        options.flag("key_bias", False),
        options.flag("value_bias", True),
    )
    if biases not in _BIASES:
        raise WeightsError(
            f"load_backbone: options query_bias, key_bias, value_bias in config.json of "
            f"'{options.path}' must be true for all, all but the keys, or none, got {biases}"
        )
    return make_config(
        options,
        norm_eps=1e-5,
        hidden_dim=options.count("intermediate_size"),
        registers=options.count("num_register_tokens", 0),
        layer_scale=1.0,
        positions="rotary",
        mlp="swiglu" if gated else "gelu",
        qkv_bias=_BIASES[biases],
    )
