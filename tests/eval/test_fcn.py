"""The convolutional head: its schedule, its weights, and that it learns."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from patchwise.errors import RangeError
from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.heads import UpsamplingHead
from tests.eval.test_segmentation_probe import train
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = FCNSegmentation(
    "p", train_px=32, test_px=32, steps=60, batch=8, rate=0.05, widths=(16,),
    half_precision=False, every_epoch=False,
)  # fmt: skip


def test_the_rate_falls_along_half_a_cosine() -> None:
    published = FCNSegmentation("p")
    for step in (0, 1, 1562, 3124):
        share = (1 + math.cos(math.pi * step / 3125)) / 2
        assert published.rate_at(step) == pytest.approx(1e-4 + (3e-3 - 1e-4) * share)


def test_every_step_has_its_rate() -> None:
    noting = train(replace(PROTOCOL, steps=5), ColourBlocks(8))[0]
    assert noting.rates == [replace(PROTOCOL, steps=5).rate_at(step) for step in range(5)]


def test_what_is_dropped_depends_on_the_seed() -> None:
    seeds = set()
    for seed in range(3):
        head = replace(PROTOCOL, seed=seed).make_head(3, 3)
        assert isinstance(head, UpsamplingHead)
        seeds.add(head.seed)
    assert len(seeds) == 3


def test_the_published_head_has_three_blocks() -> None:
    """Widths, and the number of weights counted by hand for 768 channels and 21 classes."""
    head = FCNSegmentation("p").make_head(768, 21)
    assert isinstance(head, UpsamplingHead)
    count = 0
    for dim, out in ((768, 512), (512, 384), (384, 256)):
        half = dim // 2
        count += dim * half + 2 * half + 9 * half * dim + 2 * dim + dim * out + out
    count += 256 * 21 + 21
    assert sum(parameter.numel() for parameter in head.parameters()) == count
    assert head(torch.zeros(1, 2, 3, 768)).shape == (1, 21, 16, 24)
    assert head.dropout == 0.1


def test_it_learns_from_the_labels_and_draws_by_the_seed() -> None:
    data, subject = colour_data(), subject_of(Sighted())
    assert PROTOCOL.run(subject, data).miou > 0.95
    few = replace(PROTOCOL, steps=4, dropout=0.5)
    assert few.run(subject, data).iou == few.run(subject, data).iou
    assert few.run(subject, data).iou != replace(few, seed=1).run(subject, data).iou


def test_no_score_depends_on_the_memory() -> None:
    few, subject = replace(PROTOCOL, steps=4, dropout=0.5, every_epoch=True), subject_of(Sighted())
    plenty = few.run(subject, colour_data())
    none = few.run(replace(subject, memory_bytes=0), colour_data())
    assert (none.iou, none.best_miou) == (plenty.iou, plenty.best_miou)


def test_no_draw_of_dropout_depends_on_the_default_generator() -> None:
    few = replace(PROTOCOL, steps=4, dropout=0.5)
    first = few.run(subject_of(Sighted()), colour_data())
    torch.rand(7)
    assert few.run(subject_of(Sighted()), colour_data()).iou == first.iou


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dropout": 1.0}, r"FCNSegmentation: dropout must lie in \[0, 0.99\], got 1.0"),
        ({"end_rate": 0.0}, "FCNSegmentation: end_rate must be positive, got 0"),
        ({"widths": (8, 1)}, r"FCNSegmentation: widths\[1\] must lie in \[2, 65536\], got 1"),
        ({"steps": 0}, "FCNSegmentation: steps must be positive, got 0"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, **changed)
