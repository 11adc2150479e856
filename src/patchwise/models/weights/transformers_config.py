"""What the config.json of all of transformers' ViTs have in common."""

from typing import TypedDict, Unpack

from patchwise.configs.backbone import Interpolation, MLPKind, Positions, QKVBias, ViTConfig
from patchwise.errors import PatchwiseError, WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.options import Options


class Fields(TypedDict, total=False):
    """Fields of an architecture that differ between families."""

    registers: int
    layer_scale: float
    interpolation: Interpolation
    positions: Positions
    mlp: MLPKind
    qkv_bias: QKVBias


def read_options(file: WeightsFile, source: str) -> Options:
    """Return the options that came with a file of weights.

    Raises:
        WeightsError: None came with it.
    """
    if not file.config:
        raise WeightsError(
            f"load_backbone: '{file.path}' must come with its config.json (read as {source}), got "
            f"none; give the folder that holds both"
        )
    return Options(file.path, file.config)


def make_config(
    options: Options, *, norm_eps: float, hidden_dim: int, **fields: Unpack[Fields]
) -> ViTConfig:
    """Return the architecture, with the options that all families have.

    Args:
        options: Of the file.
        norm_eps: What a config.json without that option means.
        hidden_dim: Channels of a block's hidden layer.

    Raises:
        WeightsError: An option cannot be honoured, or there is no ViT of these options.
    """
    dim, heads = options.count("hidden_size"), options.count("num_attention_heads")
    depth, eps = options.count("num_hidden_layers"), options.number("layer_norm_eps", norm_eps)
    patch_px, image_px = options.side("patch_size"), options.side("image_size")
    options.require("num_channels", 3, "RGB images")
    options.require("head_dim", dim // max(heads, 1), "hidden_size / num_attention_heads")
    try:
        return ViTConfig(
            dim=dim,
            depth=depth,
            heads=heads,
            patch_px=patch_px,
            image_px=image_px // patch_px * patch_px,  # as transformers does
            mlp_ratio=hidden_dim / max(dim, 1),
            norm_eps=eps,
            **fields,
        )
    except PatchwiseError as error:
        raise WeightsError(
            f"load_backbone: config.json of '{options.path}' must describe a possible ViT, "
            f"got {error}"
        ) from error
