"""DINOv2's published backbones: bare dicts with LayerScale and a mask token.

Some have registers; the giant has gated hidden layers. ``mask_token`` stands for hidden patches in
training only.

Source: Oquab et al. 2023, arXiv:2304.07193; Darcet et al. 2024, arXiv:2309.16588;
    https://github.com/facebookresearch/dinov2.
"""

from dataclasses import replace

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, names_in
from patchwise.models.weights.vit_keys import ViTKeys, heads_of_64

_SOURCE = "DINOv2's backbone"
_HEADS = heads_of_64(most=1536)
_UNUSED = ("mask_token",)


def is_dinov2(file: WeightsFile) -> bool:
    """Tell whether the file holds a ViT with a mask token, registers or gated hidden layers."""
    marks = {"mask_token", "register_tokens"}
    return has_blocks(file) and any(n in marks or ".mlp.w12." in n for n in names_in(file))


def read_dinov2(file: WeightsFile) -> Loaded:
    """Return the backbone of a file of DINOv2.

    Positions are resized as by the authors' hub: by DINO's rule without registers, to the exact
    size and antialiased with them.

    Raises:
        WeightsError: It is no file of DINOv2, or the weights make up no ViT.
    """
    keys = ViTKeys(file.path, _SOURCE, file.tensors(_SOURCE))
    config = keys.infer_config(_HEADS)
    registers = keys.length("register_tokens", axis=1, axes=3) or 0
    with keys.possible():
        config = replace(
            config,
            registers=registers,
            interpolation="size-antialias" if registers else "dino",
        )
        if keys.any_named(r"blocks\.\d+\.mlp\.w12\.weight"):
            hidden_dim = keys.length("blocks.0.mlp.w3.weight", axis=1, axes=2)
            ratio = config.mlp_ratio if hidden_dim is None else hidden_dim / config.dim
            config = replace(config, mlp="swiglu", mlp_ratio=ratio)
    return keys.load(config, unused=_UNUSED)


DINOV2 = Layout("DINOv2", is_dinov2, read_dinov2)
