"""transformers' Dinov2 and Dinov2WithRegisters: config.json and its weights.

Names are those of transformers 4, in which files are published and version 5 still saves, or those
of the modules in version 5.

Source: transformers, ``Dinov2Model`` and ``Dinov2WithRegistersModel``; Oquab et al. 2024,
    arXiv:2304.07193; Darcet et al. 2024, arXiv:2309.16588.
Differs: dropout, stochastic depth and the initial values of weights are not taken over.
"""

from patchwise.configs.backbone import ViTConfig
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Loaded
from patchwise.models.weights.options import Options
from patchwise.models.weights.preprocessing import read_preprocessor, with_normalisation
from patchwise.models.weights.renaming import Names, empty_names, prefix_among
from patchwise.models.weights.transformers_config import make_config, read_options
from patchwise.models.weights.vit_keys import ViTKeys

WITH_REGISTERS = "dinov2_with_registers"
_SOURCE = "a Dinov2 of transformers"
_OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "register_tokens": "embeddings.register_tokens",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_BLOCK = {
    "norm1": ("norm1",),
    "norm2": ("norm2",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
    "ls1.gamma": ("layer_scale1.lambda1",),
    "ls2.gamma": ("layer_scale2.lambda1",),
}
_PUBLISHED = Names(
    "encoder.layer",
    _OUTSIDE,
    {
        **_BLOCK,
        "attn.qkv": tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
        "attn.proj": ("attention.output.dense",),
        "mlp.w12": ("mlp.weights_in",),
        "mlp.w3": ("mlp.weights_out",),
    },
)
_MODULES = Names(
    "encoder.layer",
    _OUTSIDE,
    {
        **_BLOCK,
        "attn.qkv": tuple(f"attention.{part}_proj" for part in "qkv"),
        "attn.proj": ("attention.o_proj",),
        "mlp.w12": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.w3": ("mlp.down_proj",),
    },
)


def read_huggingface_dinov2(file: WeightsFile) -> Loaded:
    """Return the ViT of a folder, or of a model for a task that is built on it.

    Raises:
        WeightsError: An option of config.json cannot be honoured, or the weights do not fit.
    """
    config = with_normalisation(_config(read_options(file, _SOURCE)), read_preprocessor(file))
    tensors = file.tensors(_SOURCE)
    prefix = prefix_among(tensors, ("dinov2.", f"{WITH_REGISTERS}."), "embeddings.")
    by_modules = any(".attention.q_proj." in name for name in tensors)
    # Where there are no registers, a tensor without any is saved all the same.
    unused = [r".*embeddings\.mask_token", r"classifier\..+", *empty_names(tensors)]
    return ViTKeys(file.path, _SOURCE, tensors, prefix).load(
        config, origin=(_MODULES if by_modules else _PUBLISHED).origin, unused=unused
    )


def _config(options: Options) -> ViTConfig:
    with_registers = options.values.get("model_type") == WITH_REGISTERS
    hidden_dim = int(options.count("hidden_size") * options.number("mlp_ratio", 4))
    gated = options.flag("use_swiglu_ffn", False)
    if gated:  # two thirds of it, a multiple of 8
        hidden_dim = (int(hidden_dim * 2 / 3) + 7) // 8 * 8
    else:
        options.require("hidden_act", "gelu", "the exact GELU")
    return make_config(
        options,
        norm_eps=1e-6,
        hidden_dim=hidden_dim,
        registers=options.count("num_register_tokens", 4) if with_registers else 0,
        layer_scale=1.0,
        interpolation="size-antialias" if with_registers else "size",
        mlp="swiglu" if gated else "gelu",
        qkv_bias="full" if options.flag("qkv_bias", True) else "none",
    )
