"""transformers' ViT, and ViTMAE and ViTMSN, which are the same: config.json and its weights.

Names are those of transformers 4, in which files are published and version 5 still saves, or those
of the modules in version 5.

Source: transformers, ``ViTModel``; Dosovitskiy et al. 2021, arXiv:2010.11929.
Differs: dropout and the initial values of weights are not taken over. Positions are resized, which
    transformers must be asked for by ``interpolate_pos_encoding``. MAE's encoder sees all patches.
"""

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.normalisation import IMAGENET
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Loaded
from patchwise.models.weights.options import Options
from patchwise.models.weights.preprocessing import (
    HALF,
    read_preprocessor,
    with_normalisation,
)
from patchwise.models.weights.renaming import Names, prefix_among
from patchwise.models.weights.transformers_config import make_config, read_options
from patchwise.models.weights.vit_keys import ViTKeys

_SOURCE = "a ViT of transformers"
_NORM_EPS = {"vit_msn": 1e-6}  # where config.json has none
_TRAINED_WITH = {"vit": HALF}  # pixels, where no preprocessor_config.json says so: as Google's
_OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_NORMS = {"norm1": ("layernorm_before",), "norm2": ("layernorm_after",)}
_PUBLISHED = Names(
    "encoder.layer",
    _OUTSIDE,
    {
        **_NORMS,
        "attn.qkv": tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
        "attn.proj": ("attention.output.dense",),
        "mlp.fc1": ("intermediate.dense",),
        "mlp.fc2": ("output.dense",),
    },
)
_MODULES = Names(
    "layers",
    _OUTSIDE,
    {
        **_NORMS,
        "attn.qkv": tuple(f"attention.{part}_proj" for part in "qkv"),
        "attn.proj": ("attention.o_proj",),
        "mlp.fc1": ("mlp.fc1",),
        "mlp.fc2": ("mlp.fc2",),
    },
)


def read_huggingface_vit(file: WeightsFile) -> Loaded:
    """Return the ViT of a folder, or of a model for a task that is built on it.

    Raises:
        WeightsError: An option of config.json cannot be honoured, or the weights do not fit.
    """
    options = read_options(file, _SOURCE)
    absent = _TRAINED_WITH.get(str(options.values.get("model_type")), IMAGENET)
    config = with_normalisation(_config(options), read_preprocessor(file, absent=absent))
    tensors = file.tensors(_SOURCE)
    prefix = prefix_among(tensors, ("vit.",), "embeddings.")
    by_modules = any(name.startswith(f"{prefix}layers.") for name in tensors)
    return ViTKeys(file.path, _SOURCE, tensors, prefix).load(
        config,
        origin=(_MODULES if by_modules else _PUBLISHED).origin,
        unused=(
            r"(vit\.)?embeddings\.mask_token",
            r"(vit\.)?pooler\.dense\.(weight|bias)",
            r"classifier\..+",
            r"decoder\..+",
        ),
    )


def _config(options: Options) -> ViTConfig:
    options.require("hidden_act", "gelu", "the exact GELU")
    kind = str(options.values.get("model_type"))
    return make_config(
        options,
        norm_eps=_NORM_EPS.get(kind, 1e-12),
        hidden_dim=options.count("intermediate_size"),
        interpolation="size",
        qkv_bias="full" if options.flag("qkv_bias", True) else "none",
    )
