"""What CoTAP's teacher says of the global views.

Letters: N images and neighbours, V = 2 global views, H W rows and columns of patches, K prototypes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchwise.configs.cotap import CoTAPConfig
from patchwise.distributed import Collectives
from patchwise.methods.paired_views import PairedViews
from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.score_queue import ScoreQueue
from patchwise.ops.foreground import foreground_mask
from patchwise.ops.sinkhorn import sinkhorn


@dataclass(frozen=True)
class TaughtPatches:
    """What the teacher says of the patches."""

    scores: Float[Tensor, "V N H W K"]
    assignments: Float[Tensor, "V N H W K"] | None  # None: no loss is on them
    foreground: Bool[Tensor, "V N H W"]


@dataclass(frozen=True)
class TaughtImages:
    """What the teacher says of the views as a whole."""

    scores: Float[Tensor, "V N K"]
    assignments: Float[Tensor, "V N K"]


@torch.no_grad()
def teach_patches(
    teacher: TwoHeadedBackbone,
    views: PairedViews,
    queue: ScoreQueue,
    config: CoTAPConfig,
    collectives: Collectives,
) -> TaughtPatches:
    """Score the patches of the global views, assign them to prototypes, and find the foreground.

    The foreground is what CLS attends to in the last block. Assignments are balanced over the
    patches of all views, images and neighbours, and over the queue.
    """
    masked = config.foreground_frac < 1
    output = teacher.backbone(views.teacher, attention=masked)
    scores = teacher.patch_scores(output, views.images)
    assignments = None
    if config.dense_weight:
        assignments = sinkhorn(
            scores.flatten(0, 3),
            queue.share(collectives),
            temperature=config.patch_temperature,
            iterations=config.sinkhorn_iterations,
            collectives=collectives,
        ).reshape(scores.shape)
    foreground = torch.ones(scores.shape[:-1], dtype=torch.bool, device=scores.device)
    if masked:
        assert output.attention is not None, "it was asked for"
        found = foreground_mask(output.attention, output.grid, mass_frac=config.foreground_frac)
        foreground = found.reshape(scores.shape[:-1])
    return TaughtPatches(scores, assignments, foreground)


@torch.no_grad()
def teach_images(
    teacher: TwoHeadedBackbone,
    views: PairedViews,
    queue: ScoreQueue,
    config: CoTAPConfig,
    collectives: Collectives,
) -> TaughtImages:
    """Score the CLS tokens of the global views, and assign them to prototypes."""
    output = teacher.backbone(views.teacher)
    scores = teacher.image_scores(output, views.images)
    assignments = sinkhorn(
        scores.flatten(0, 1),
        queue.share(collectives),
        temperature=config.image_temperature,
        iterations=config.sinkhorn_iterations,
        collectives=collectives,
    )
    return TaughtImages(scores, assignments.reshape(scores.shape))
