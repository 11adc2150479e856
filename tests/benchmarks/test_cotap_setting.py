"""The run that is measured must be one that is well on its way, with every part of the loss."""

import pytest
import torch
from benchmarks.cotap_setting import CoTAPSetting, make_views, method_of

from patchwise.configs.cotap import CoTAPConfig

SMALL = CoTAPSetting(batch=2)


def test_the_paper_is_as_published() -> None:
    config = CoTAPSetting("paper", batch=4).config()
    assert config.method == CoTAPConfig()
    assert (config.backbone.dim, config.backbone.depth, config.backbone.patch_px) == (384, 12, 16)
    assert config.train.batch == 4


def test_both_sets_have_images_and_other_ones_as_neighbours() -> None:
    batches = SMALL.batches()
    assert set(batches) == {"scenes", "scenes.neighbour", "objects", "objects.neighbour"}
    ids = torch.cat([images.ids for images in batches.values()])
    assert len(set(ids.tolist())) == 8
    assert SMALL.images == 4
    side_px = SMALL.config().method.views.base_px
    assert all(images.pixels.shape == (2, 3, side_px, side_px) for images in batches.values())


def test_queues_and_bank_are_full_and_every_loss_counts() -> None:
    training = SMALL.training()
    method = method_of(training)
    assert method.bank is not None
    assert method.bank.full
    assert method.patch_queue.scores.full
    assert method.image_queue.scores.full
    assert float(method.patch_queue.scores.stored.std()) == pytest.approx(32**-0.5, rel=0.01)
    values = training.step(SMALL.batches())
    parts = {"dense", "image", "neighbour", "ranking", "prototype"}
    assert all(values[part] > 0 for part in parts)


def test_without_queues_nothing_else_changes() -> None:
    method = method_of(SMALL.training(queued=False))
    assert method.patch_queue.empty
    batches = SMALL.batches()
    bare, full = (make_views(m, batches) for m in (method, method_of(SMALL.training())))
    assert bare.scenes is not None
    assert full.scenes is not None
    assert torch.equal(bare.scenes.teacher, full.scenes.teacher)
