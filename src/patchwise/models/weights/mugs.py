"""Mugs' published backbones: a plain ViT under ``state_dict``, and perhaps relation blocks.

Relation blocks look at neighbours in training; features do not pass through them.

Source: Zhou et al. 2022, arXiv:2203.14415, and https://github.com/sail-sg/mugs.
"""

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, names_in, open_section, unwrap
from patchwise.models.weights.vit_keys import heads_of_64

_SOURCE = "Mugs' backbone"
_HEADS = heads_of_64(most=1024)
_UNUSED = (r"relation_blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)",)


def is_mugs(file: WeightsFile) -> bool:
    """Tell whether the file holds relation blocks beside those of a ViT."""
    weights = unwrap(file, "state_dict")
    beside = any(name.startswith("relation_blocks.") for name in names_in(weights))
    return beside and has_blocks(weights)


def read_mugs(file: WeightsFile) -> Loaded:
    """Return the backbone of a file of Mugs.

    Raises:
        WeightsError: It is no file of Mugs, or the weights make up no ViT.
    """
    keys = open_section(file, "state_dict", source=_SOURCE)
    return keys.load(keys.infer_config(_HEADS), unused=_UNUSED)


MUGS = Layout("Mugs", is_mugs, read_mugs)
