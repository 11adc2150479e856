"""CoTAP's checkpoints: student and teacher, each with a filter and heads, under ``state_dict``.

The student is taken, which the authors evaluate, with its filter: features are 2 D wide. Every
block of theirs has the norms of a filter, of which those of the last one are used. The final norm
is taken up too, for the plain ViT within.

Source: Wen et al. 2025, arXiv:2509.09429, ``dino+cotap.ckpt`` and the like.
"""

from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.fitting import Origin
from patchwise.models.weights.layout import Layout, Loaded
from patchwise.models.weights.unwrap import has_blocks, open_section, unwrap
from patchwise.models.weights.vit_keys import PLAIN_NAMES, heads_of_64

_SOURCE = "CoTAP's checkpoint: student"
_SECTION, _STUDENT = "state_dict", "net.model."
_PROTOTYPES = "kernel"
_HEADS = heads_of_64(most=1024)
_NORMS = r"blocks\.\d+\.(norm_in|norm_out_patch|norm_out_cls)\.(weight|bias)"
_UNUSED = (
    rf"net\.model\.{_NORMS}",
    rf"net_teacher\.model\.({PLAIN_NAMES}|{_NORMS}|{_PROTOTYPES})",
    r"(net(_teacher)?\.(model\.)?)?projection_heads\.[01]\."
    r"(projection_head\.[024]\.(weight|bias)|last_layer\.weight_[gv])",
)


def is_cotap(file: WeightsFile) -> bool:
    """Tell whether the file holds a ViT as the model of ``net``, in a section."""
    return has_blocks(unwrap(file, _SECTION), _STUDENT)


def read_cotap(file: WeightsFile) -> Loaded:
    """Return the student of a file of CoTAP, a `FilteredViT`.

    Raises:
        WeightsError: It is no file of CoTAP, or the weights make up no filtered ViT.
    """
    keys = open_section(file, _SECTION, source=_SOURCE, prefix=_STUDENT)
    config = keys.infer_config(_HEADS)
    # Where they are missing or have another shape, it is said so when weights are fitted.
    prototypes = keys.length(_PROTOTYPES, axis=0, axes=4) or 1

    def origin(name: str) -> Origin:
        part, _, rest = name.partition(".")
        if part == "filter":
            rest = _PROTOTYPES if rest == "prototypes" else f"blocks.{config.depth - 1}.{rest}"
        return Origin((rest,))

    return keys.load_into(
        lambda: FilteredViT(ViT(config), prototypes), origin=origin, unused=_UNUSED
    )


COTAP = Layout("CoTAP", is_cotap, read_cotap)
