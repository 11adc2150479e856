"""MoCo-v3's pre-trained models: both encoders and the predictor under ``state_dict``.

The base encoder is taken, which the authors evaluate. It is a plain ViT whose positions are sines
and cosines, stored like learned ones.

Source: Chen et al. 2021, arXiv:2104.02057, and https://github.com/facebookresearch/moco-v3.
Differs: the authors never resize positions.
"""

from dataclasses import replace

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, open_section, unwrap
from patchwise.models.weights.vit_keys import PLAIN_NAMES, heads_by_width

_SOURCE = "MoCo-v3's base encoder"
_PREFIX = "module.base_encoder."
# ViT-S, -B, -L and -H. The authors' ViT-S has heads of 32 channels, unlike everybody else's.
_HEADS = heads_by_width({384: 12, 768: 12, 1024: 16, 1280: 16})
_LAYERS = r"\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"
_UNUSED = (
    rf"module\.(base|momentum)_encoder\.head\.{_LAYERS}",
    rf"module\.momentum_encoder\.{PLAIN_NAMES}",
    rf"module\.predictor\.{_LAYERS}",
)


def is_mocov3(file: WeightsFile) -> bool:
    """Tell whether the file holds a base encoder that is a ViT."""
    return has_blocks(unwrap(file, "state_dict"), _PREFIX)


def read_mocov3(file: WeightsFile) -> Loaded:
    """Return the base encoder of a file of MoCo-v3.

    Raises:
        WeightsError: It is no file of MoCo-v3, or the weights make up no ViT.
    """
    keys = open_section(file, "state_dict", source=_SOURCE, prefix=_PREFIX)
    config = replace(keys.infer_config(_HEADS), interpolation="size")
    return keys.load(config, unused=_UNUSED)


MOCOV3 = Layout("MoCo-v3", is_mocov3, read_mocov3)
