"""All variants must see the same images in the same views."""

from dataclasses import replace

import torch
from benchmarks.setting import Setting, build_ours

from patchwise.configs.methods import PWSelfConfig
from patchwise.methods.pwself import PWSelf
from patchwise.models.vit import ViT
from tests.small_runs import step_at

SMALL = Setting(prototypes=16, batch=2, local_count=1)


def test_the_views_are_those_that_our_method_makes() -> None:
    config, views = SMALL.config("pwself"), SMALL.views()
    assert isinstance(config.method, PWSelfConfig)
    method = PWSelf(ViT(config.backbone), config.method)
    made = method.make_views({"images": SMALL.images()}, step_at(seed=config.train.seed))
    assert [tuple(pixels.shape) for pixels in views.pixels] == [(4, 3, 224, 224), (2, 3, 96, 96)]
    for ours, theirs in zip(made.pixels, views.pixels, strict=True):
        assert torch.equal(ours, theirs)


def test_patches_are_recoloured_where_it_is_asked_for() -> None:
    recoloured = replace(SMALL, recolour_patches=True)
    views = recoloured.views(SMALL.images())
    assert not torch.equal(views.pixels[0], SMALL.views().pixels[0])
    assert torch.equal(views.crops[0].boxes, SMALL.views().crops[0].boxes)


def test_both_methods_have_the_wanted_sizes_and_prototypes_that_move() -> None:
    for name in ("pwself", "dino"):
        config = SMALL.config(name)
        assert config.method.name == name
        assert (config.method.prototypes, config.method.views.local_count) == (16, 1)
        assert config.method.frozen_prototype_epochs == 0
        assert config.train.batch == 2


def test_our_step_trains_on_views_made_once() -> None:
    act = build_ours(SMALL, "pwself")
    losses = [act() for _ in range(2)]
    for values in losses:
        assert isinstance(values, dict)
        assert values["loss"] > 0
