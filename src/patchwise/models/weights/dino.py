"""DINO's files: its published backbones, and checkpoints of its training and of its heirs'.

A published backbone (``dino_deitsmall16_pretrain.pth``) is a bare dict of a plain ViT, without a
mark of its own: files of other origin with the same names are the same to it, such as those of
timm without a head, which resizes positions by "size-antialias".

A checkpoint of training (``..._full_checkpoint.pth``, and those of PW-Self's authors) has sections
``student`` and ``teacher`` with a backbone and a head each. The teacher is taken, which the authors
evaluate; the student where there is no teacher.

Source: Caron et al. 2021, arXiv:2104.14294, and https://github.com/facebookresearch/dino.
"""

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, has_teacher, open_teacher
from patchwise.models.weights.vit_keys import HEAD_NAMES, ViTKeys, heads_of_64

_BARE = "a bare dict of ViT weights"
_FULL = "a checkpoint of DINO's training"
_PATCH = "patch_embed.proj.weight"
# iBOT's ViT-L is the widest with these names; timm's wider ones have other heads.
_HEADS = heads_of_64(most=1024)
_UNUSED = (rf"(module\.)?{HEAD_NAMES}",)


def is_dino(file: WeightsFile) -> bool:
    """Tell whether the file holds a plain ViT under its own names, or one's teacher or student."""
    return has_blocks(file) or has_teacher(file)


def read_dino(file: WeightsFile) -> Loaded:
    """Return the backbone of a file of DINO.

    Raises:
        WeightsError: The names are those of another format, or the weights make up no ViT.
    """
    if has_teacher(file):
        keys = open_teacher(file, source=_FULL)
        return keys.load(keys.infer_config(_HEADS), unused=_UNUSED)
    keys = ViTKeys(file.path, _BARE, file.tensors(_BARE))
    _refuse_prefix(keys)
    return keys.load(keys.infer_config(_HEADS))


def _refuse_prefix(keys: ViTKeys) -> None:
    for name in keys.tensors:
        prefix = name.removesuffix(_PATCH)
        if prefix not in {"", name}:
            raise WeightsError(
                f"load_backbone: names in '{keys.path}' must have no prefix (read as {_BARE}), "
                f"got '{prefix}' before '{_PATCH}'"
            )


DINO = Layout("DINO", is_dino, read_dino)
