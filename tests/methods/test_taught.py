"""What the teacher says: scores, balanced assignments, foreground."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.configs.normalisation import IMAGENET
from patchwise.distributed import OneProcess
from patchwise.methods.paired_views import PairedViews, make_paired_views
from patchwise.methods.taught import teach_images, teach_patches
from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.score_queue import ScoreQueue
from patchwise.ops.foreground import foreground_mask
from patchwise.ops.sinkhorn import sinkhorn
from tests.small_runs import COTAP_CONFIG, scene_batch, small_filtered

ALONE = OneProcess()


@pytest.fixture
def teacher() -> TwoHeadedBackbone:
    backbone = small_filtered()
    torch.manual_seed(1)
    return TwoHeadedBackbone(backbone, COTAP_CONFIG)


@pytest.fixture
def views() -> PairedViews:
    own, others = scene_batch(0, 1)["images"], scene_batch(5, 6)["images"]
    return make_paired_views(
        own, others, COTAP_CONFIG.views, patch_px=8, seed=0, normalisation=IMAGENET
    )


def queue_of(k: int, rows: Tensor | None = None) -> ScoreQueue:
    queue = ScoreQueue(50, k, most_a_step=50, fill=True)
    if rows is not None:
        queue.add(rows, seed=0, step=0, collectives=ALONE)
    return queue


@pytest.mark.parametrize("queued", [0, 9])
def test_patches_are_scored_and_assigned_with_the_queue(
    teacher: TwoHeadedBackbone, views: PairedViews, queued: int
) -> None:
    rows = torch.rand(queued, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    config = replace(COTAP_CONFIG, sinkhorn_iterations=5, patch_temperature=0.2)
    found = teach_patches(teacher, views, queue_of(12, rows), config, ALONE)
    assert found.assignments is not None
    assert found.scores.shape == found.assignments.shape == (2, 4, 4, 4, 12)
    with torch.no_grad():
        output = teacher.backbone(views.teacher, attention=True)
        scores: Tensor = teacher.patch_head(output.patches)
    torch.testing.assert_close(found.scores.flatten(0, 3), scores.flatten(0, 1))
    together = torch.cat([scores.flatten(0, 1), rows])
    expected = sinkhorn(together, temperature=0.2, iterations=5)[: len(scores.flatten(0, 1))]
    torch.testing.assert_close(found.assignments.flatten(0, 3), expected, rtol=1e-4, atol=1e-6)
    assert output.attention is not None
    mask = foreground_mask(output.attention, output.grid, mass_frac=0.6)
    assert torch.equal(found.foreground.flatten(0, 1).flatten(1), mask)
    assert not found.scores.requires_grad
    assert not found.assignments.requires_grad


def test_everything_may_be_foreground(teacher: TwoHeadedBackbone, views: PairedViews) -> None:
    config = replace(COTAP_CONFIG, foreground_frac=1.0)
    found = teach_patches(teacher, views, queue_of(12), config, ALONE)
    assert found.foreground.all()
    less = teach_patches(teacher, views, queue_of(12), COTAP_CONFIG, ALONE)
    assert 0 < float(less.foreground.float().mean()) < 1
    torch.testing.assert_close(found.assignments, less.assignments)


def test_images_are_scored_by_the_other_head(
    teacher: TwoHeadedBackbone, views: PairedViews
) -> None:
    rows = torch.rand(9, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    config: Any = replace(COTAP_CONFIG, sinkhorn_iterations=2, image_temperature=0.3)
    found = teach_images(teacher, views, queue_of(10, rows), config, ALONE)
    with torch.no_grad():
        scores: Tensor = teacher.image_head(teacher.backbone(views.teacher).cls)
    torch.testing.assert_close(found.scores.flatten(0, 1), scores)
    expected = sinkhorn(torch.cat([scores, rows]), temperature=0.3, iterations=2)[:8]
    torch.testing.assert_close(found.assignments.flatten(0, 1), expected, rtol=1e-4, atol=1e-6)
    assert not found.assignments.requires_grad
