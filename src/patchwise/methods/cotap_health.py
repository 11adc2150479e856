"""What CoTAP tells about its health, from what a step has at hand anyway."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.methods.health import some_rows
from patchwise.methods.taught import TaughtImages, TaughtPatches
from patchwise.models.backbone import Backbone
from patchwise.models.filtered_vit import FilteredViT
from patchwise.ops.statistics import entropy_frac, prototype_use

_LOOKED_AT = 4  # images whose prototypes are looked at


@torch.no_grad()
def patch_health(
    taught: TaughtPatches, student: Float[Tensor, "V N H W K"]
) -> dict[str, Float[Tensor, ""]]:
    """Return what the global views tell.

    Args:
        taught: By the teacher.
        student: Scores of the same crops.

    Returns:
        ``mask_area``: share of the patches that are foreground.
        ``agreement``: share of the foreground in which student and teacher have the same first
        choice of a prototype.
        ``prototype_use``: share of the patches' prototypes that are in use by the teacher's
        assignments of the foreground; see `patchwise.ops.statistics.prototype_use`.
        ``assignment_entropy``: mean entropy of these assignments, as a share of ln K: at 1 they
        say nothing, and the temperature is too high. Both only where there are assignments.
    """
    foreground = taught.foreground.flatten()
    chosen = some_rows(foreground.nonzero()[:, 0])
    scores = taught.scores.flatten(0, 3)[chosen]
    agrees = scores.argmax(dim=1) == student.flatten(0, 3)[chosen].argmax(dim=1)
    health = {"mask_area": foreground.double().mean(), "agreement": agrees.double().mean()}
    if taught.assignments is not None:
        assignments = taught.assignments.flatten(0, 3)[chosen]
        health["prototype_use"] = prototype_use(assignments)
        health["assignment_entropy"] = entropy_frac(assignments).mean()
    return health


@torch.no_grad()
def image_health(
    taught: TaughtImages, student: Float[Tensor, "V N K"]
) -> dict[str, Float[Tensor, ""]]:
    """Return the same of all global views, under the same names with ``image_`` before them."""
    agrees = taught.scores.argmax(dim=-1) == student.argmax(dim=-1)
    assignments = taught.assignments.flatten(0, 1)
    return {
        "image_agreement": agrees.double().mean(),
        "image_prototype_use": prototype_use(assignments),
        "image_assignment_entropy": entropy_frac(assignments).mean(),
    }


@torch.no_grad()
def filter_health(
    backbone: Backbone, images: Float[Tensor, "B 3 H W"]
) -> dict[str, Float[Tensor, ""]]:
    """Return ``filter_use``, the share of the filter's prototypes that are read; {} without one."""
    if not isinstance(backbone, FilteredViT):
        return {}
    attention, _ = backbone.prototype_attention(images[:_LOOKED_AT])
    return {"filter_use": prototype_use(attention.flatten(0, 2).float())}
