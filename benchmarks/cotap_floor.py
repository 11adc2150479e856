"""The floor of CoTAP's step: backbones with their filter, heads and their products, nothing else.

For each of both image sets: forward of the teacher's backbone and head for the global views;
forward and backward of the student's for all views. The student's prototypes meet as many rows as
losses compare: cells of places that crops share, or all patches of a crop where those are fewer. No
losses, no assignments, no optimiser, no moving average: a step with these models cannot be faster.
"""

import math

import torch

from benchmarks.cotap_setting import CoTAPSetting, make_views, method_of
from benchmarks.setting import Act
from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.configs.cotap import CoTAPConfig
from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.heads import ProjectionHead


def scored_patches(config: CoTAPConfig, patches: int, *, local: bool) -> int:
    """Return how many rows of a crop with so many patches meet the student's prototypes.

    Loss a compares a crop with every other global one; loss d ranks cells of the global crops.

    >>> scored_patches(CoTAPConfig(), 196, local=False)  # 36 cells, and half of 2 x 5
    41
    >>> scored_patches(CoTAPConfig(), 36, local=True)  # fewer than 2 x 36 cells
    36
    """
    others = GLOBAL_VIEWS if local else GLOBAL_VIEWS - 1
    ranked = 0 if local else config.ranked_cells * len(config.ranking_cells)
    return min(patches, others * config.region_cells**2 + math.ceil(ranked / GLOBAL_VIEWS))


def build_floor(setting: CoTAPSetting) -> Act:
    """Return the floor of a step."""
    method = method_of(setting.training(queued=False))
    views = make_views(method, setting.batches())
    sets = [("patches", views.scenes), ("cls", views.objects)]
    half = setting.precision == "bf16"

    def head_of(model: TwoHeadedBackbone, part: str) -> ProjectionHead:
        return model.patch_head if part == "patches" else model.image_head

    def run() -> None:
        for part, paired in sets:
            assert paired is not None, "both sets are trained on"
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                teacher = method.teacher.module
                tokens = getattr(teacher.backbone(paired.teacher), part)
                head_of(teacher, part)(tokens)
            for local, pixels in enumerate(paired.student):
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    head = head_of(method.student, part)
                    vectors = head.bottleneck(getattr(method.student.backbone(pixels), part))
                    if part == "patches":
                        count = scored_patches(method.config, vectors.shape[1], local=bool(local))
                        vectors = vectors[:, :count]
                    scores = head.scores(vectors)
                torch.autograd.backward(scores, torch.ones_like(scores))
        method.student.zero_grad(set_to_none=True)

    return run
