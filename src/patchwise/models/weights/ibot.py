"""iBOT's files: its published backbones, and checkpoints of its training.

A published backbone (``checkpoint_teacher.pth``) holds a plain ViT under ``state_dict``; Mugs'
without relation blocks are the same. ``masked_embed`` stands for hidden patches in training only.

Source: Zhou et al. 2022, arXiv:2111.07832, and https://github.com/bytedance/ibot.
"""

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import (
    has_blocks,
    has_teacher,
    names_in,
    open_section,
    open_teacher,
    unwrap,
)
from patchwise.models.weights.vit_keys import HEAD_NAMES, heads_of_64

_BACKBONE = "iBOT's backbone"
_FULL = "a checkpoint of iBOT's training"
_HEADS = heads_of_64(most=1024)
_MASKED = r"((module\.)?backbone\.)?masked_embed"
_UNUSED = (
    _MASKED,
    rf"(module\.)?{HEAD_NAMES}",
    r"(module\.)?head\.last_layer2\.(weight_[gv]|parametrizations\.weight\.original[01])",
    r"(module\.)?head\.mlp2\.(weight|bias)",
    r"(module\.)?head\.last_norm2?\.(running_mean|running_var|num_batches_tracked)",
)


def is_ibot(file: WeightsFile) -> bool:
    """Tell whether the file holds a plain ViT in a section, or iBOT's student and teacher."""
    if has_teacher(file):
        names = names_in(unwrap(file, "teacher")) + names_in(unwrap(file, "student"))
        marks = ("masked_embed", "head.last_layer2", "head.mlp2")
        return "ibot_loss" in file.contents or any(m in name for name in names for m in marks)
    return has_blocks(unwrap(file, "state_dict"))


def read_ibot(file: WeightsFile) -> Loaded:
    """Return the backbone of a file of iBOT.

    Raises:
        WeightsError: It is no file of iBOT, or the weights make up no ViT.
    """
    if has_teacher(file):
        keys = open_teacher(file, source=_FULL)
    else:
        keys = open_section(file, "state_dict", source=_BACKBONE)
    return keys.load(keys.infer_config(_HEADS), unused=_UNUSED)


IBOT = Layout("iBOT", is_ibot, read_ibot)
