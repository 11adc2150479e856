"""Leopart's checkpoints: student and teacher, each with a head, under ``state_dict`` or bare.

The student is taken, which the authors evaluate.

Source: Ziegler and Asano 2022, arXiv:2204.13101, and https://github.com/MkuuWaUjinga/leopart.
"""

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, open_section, unwrap
from patchwise.models.weights.vit_keys import PLAIN_NAMES, ViTKeys, heads_of_64

_SOURCE = "Leopart's checkpoint: student"
_STUDENT = "model."
_HEADS = heads_of_64(most=1024)
_HEAD = r"(projection_head(\.\d+)?\.(weight|bias)|prototypes\.weight)"
_UNUSED = (rf"(model|teacher)\.{_HEAD}", rf"teacher\.{PLAIN_NAMES}")


def is_leopart(file: WeightsFile) -> bool:
    """Tell whether the file holds a ViT as ``model``, by itself or in a section."""
    return any(has_blocks(each, _STUDENT) for each in (file, unwrap(file, "state_dict")))


def read_leopart(file: WeightsFile) -> Loaded:
    """Return the student's backbone of a file of Leopart.

    Raises:
        WeightsError: It is no file of Leopart, or the weights make up no ViT.
    """
    if has_blocks(file, _STUDENT):
        keys = ViTKeys(file.path, _SOURCE, file.tensors(_SOURCE), _STUDENT)
    else:
        keys = open_section(file, "state_dict", source=_SOURCE, prefix=_STUDENT)
    return keys.load(keys.infer_config(_HEADS), unused=_UNUSED)


LEOPART = Layout("Leopart", is_leopart, read_leopart)
