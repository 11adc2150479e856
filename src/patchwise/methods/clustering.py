"""CoTAP's clustering: the student foretells to which prototypes the teacher assigns what it sees.

Letters: N images and neighbours, B of each, V views, K prototypes, H W rows and columns of patches.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.configs.cotap import CoTAPConfig
from patchwise.losses.dense_swapped_prediction import dense_swapped_prediction_loss
from patchwise.losses.swapped_prediction import swapped_prediction_loss
from patchwise.methods.shared_regions import CropPair
from patchwise.methods.taught import TaughtImages, TaughtPatches


def cluster_patches(
    student: Float[Tensor, "V N H W K"],
    taught: TaughtPatches,
    pairs: Sequence[CropPair],
    config: CoTAPConfig,
    *,
    first: int = 0,
) -> Float[Tensor, ""]:
    """Return the share that some views have in loss a: patches within an image.

    Args:
        student: Scores of some views of one resolution, side by side.
        taught: By the teacher.
        pairs: All pairs of crops; those of other views are passed over. None: the loss is 0.
        config: The student's temperature.
        first: Number of the first of these views.
    """
    assert taught.assignments is not None, "they are made where there is this loss"
    total = 0.0 * student.sum()
    for pair in pairs:
        if first <= pair.student < first + len(student):
            total = total + dense_swapped_prediction_loss(
                student[pair.student - first],
                taught.assignments[pair.teacher],
                pair.region,
                student_temperature=config.student_temperature,
            )
    return total


def cluster_images(
    student: Float[Tensor, "V N K"],
    taught: TaughtImages,
    views: int,
    config: CoTAPConfig,
    *,
    first: int = 0,
) -> Float[Tensor, ""]:
    """Return the share that some views have in loss b: CLS within an image.

    Args:
        student: Scores of some views, side by side.
        taught: By the teacher.
        views: Of each image, in all: every one is compared with the global ones, but not with
            itself.
        config: The student's temperature.
        first: Number of the first of these views.
    """
    shape = (GLOBAL_VIEWS, views)
    pairs = torch.ones(shape, dtype=student.dtype, device=student.device).fill_diagonal_(0)
    pairs /= pairs.sum()
    return swapped_prediction_loss(
        student,
        taught.assignments,
        pairs[:, first : first + len(student)],
        student_temperature=config.student_temperature,
    )


def cluster_neighbours(
    student: Float[Tensor, "V N K"], taught: TaughtImages, config: CoTAPConfig
) -> Float[Tensor, ""]:
    """Return loss c: each global view of an image with each of its neighbour, both ways."""
    crops, targets = (
        scores.reshape(GLOBAL_VIEWS, 2, -1, scores.shape[-1]).transpose(0, 1).flatten(0, 1)
        for scores in (student, taught.assignments)
    )  # [2 V, B, K], first those of the images
    owner = torch.arange(len(crops), device=student.device) // GLOBAL_VIEWS
    across = (owner[:, None] != owner[None, :]).to(student.dtype)
    return swapped_prediction_loss(
        crops,
        targets,
        across / across.sum(),
        student_temperature=config.neighbour_student_temperature,
    )
