"""MAE's pre-trained models: an encoder under ``model``, and perhaps its decoder.

The encoder is a plain ViT whose positions are sines and cosines, stored like learned ones.

Source: He et al. 2022, arXiv:2111.06377, and https://github.com/facebookresearch/mae.
Differs: the authors resize positions, in fine-tuning, to square grids only.
"""

from dataclasses import replace

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, open_section, unwrap
from patchwise.models.weights.vit_keys import heads_by_width

_SOURCE = "MAE's encoder"
# ViT-B, -L and -H; the last has 80 channels a head.
_HEADS = heads_by_width({768: 12, 1024: 16, 1280: 16})
_UNUSED = (
    "mask_token",
    r"decoder_pos_embed",
    r"decoder_(embed|norm|pred)\.(weight|bias)",
    r"decoder_blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)",
)


def is_mae(file: WeightsFile) -> bool:
    """Tell whether the file holds a ViT under ``model``."""
    return has_blocks(unwrap(file, "model"))


def read_mae(file: WeightsFile) -> Loaded:
    """Return the encoder of a file of MAE.

    Raises:
        WeightsError: It is no file of MAE, or the weights make up no ViT.
    """
    keys = open_section(file, "model", source=_SOURCE)
    config = replace(keys.infer_config(_HEADS), interpolation="size")
    return keys.load(config, unused=_UNUSED)


MAE = Layout("MAE", is_mae, read_mae)
