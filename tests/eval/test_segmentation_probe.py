"""What CoTAP's heads have in common: their crops, when they are tested, and their settings."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from patchwise.data.segmentation import SegmentationSource
from patchwise.errors import RangeError
from patchwise.eval.heads import LinearHead
from patchwise.eval.linseg import LinearSegmentation
from patchwise.eval.segmentation_probe import SegmentationProbe
from patchwise.eval.segmentation_training import Learner
from patchwise.eval.squares import Squares
from tests.eval.sources import Coordinates
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = LinearSegmentation(
    "p", train_px=24, test_px=32, steps=30, batch=8, rate=0.1, half_precision=False
)


class Noting(Learner):
    """Notes its steps instead of learning."""

    squares: list[Squares]
    rates: list[float]

    def step(self, squares: Squares, *, rate: float) -> None:
        self.squares.append(squares)
        self.rates.append(rate)


def noting_learner() -> Noting:
    head = LinearHead(3, 3)
    noting = Noting(subject_of(Sighted()), head, torch.optim.SGD(head.parameters()))
    object.__setattr__(noting, "squares", [])
    object.__setattr__(noting, "rates", [])
    return noting


def train(protocol: SegmentationProbe, source: SegmentationSource) -> tuple[Noting, list[int]]:
    noting = noting_learner()
    return noting, list(protocol.train(noting, source))


def test_crops_and_labels_have_their_sizes() -> None:
    noting, _ = train(PROTOCOL, ColourBlocks(24))
    for squares in noting.squares:
        assert squares.pixels.shape == (8, 3, 24, 24)
        assert squares.labels.shape == (8, 32, 32)


def test_every_epoch_shows_every_image() -> None:
    source = Coordinates()
    train(replace(PROTOCOL, batch=2, steps=6), source)
    assert [sorted(source.seen[at : at + 4]) for at in (0, 4, 8)] == [[0, 1, 2, 3]] * 3


def test_crops_change_from_epoch_to_epoch_and_with_the_seed() -> None:
    protocol = replace(PROTOCOL, batch=4, steps=2)
    first = train(protocol, Coordinates())[0].squares
    assert torch.equal(first[0].pixels, train(protocol, Coordinates())[0].squares[0].pixels)
    other = train(replace(protocol, seed=1), Coordinates())[0].squares
    for changed in (first[1], other[0]):
        assert not torch.equal(first[0].pixels.sum(0), changed.pixels.sum(0))


@pytest.mark.parametrize(
    ("steps", "images", "tested"),
    [
        (30, 24, [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]),  # epochs of three steps
        (10, 24, [3, 6, 9, 10]),  # the last step is always tested
        (60, 8, [6, 12, 18, 24, 30, 36, 42, 48, 54, 60]),  # every tenth of the steps
        (2, 80, [2]),
    ],
)
def test_it_is_tested_after_every_epoch(steps: int, images: int, tested: list[int]) -> None:
    assert train(replace(PROTOCOL, steps=steps), ColourBlocks(images))[1] == tested
    last = replace(PROTOCOL, steps=steps, every_epoch=False)
    assert train(last, ColourBlocks(images))[1] == [steps]


def test_the_best_epoch_stands_beside_the_last_and_does_not_change_it() -> None:
    data = colour_data()
    plain = replace(PROTOCOL, every_epoch=False).run(subject_of(Sighted()), data)
    both = PROTOCOL.run(subject_of(Sighted()), data)
    assert plain.best_miou is None
    assert both.best_miou is not None
    assert both.best_miou >= both.miou == plain.miou


def test_labels_at_their_own_size_are_all_counted() -> None:
    """Images of 32 px, seen at 16: half as many pixels each way, unless labels stay native."""
    data = colour_data(unlabelled=0.5)
    few = replace(PROTOCOL, test_px=16, steps=2, every_epoch=False)
    squashed, native = (
        replace(few, native_labels=native).run(subject_of(Sighted()), data)
        for native in (False, True)
    )
    assert squashed.pixel_accuracy != native.pixel_accuracy
    labelled = sum(int((data.test.label(i) != 255).sum()) for i in range(12))
    right = native.pixel_accuracy * labelled
    assert right == pytest.approx(round(right), abs=1e-6)  # a share of all labelled pixels


def test_fewer_images_than_a_batch_will_do() -> None:
    few = replace(colour_data(), fit=ColourBlocks(3))
    assert replace(PROTOCOL, steps=3).run(subject_of(Sighted()), few).miou >= 0


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["train_px", "test_px", "steps", "batch", "rate"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"LinearSegmentation: {name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0}))


@pytest.mark.bad_input
def test_crops_are_checked() -> None:
    with pytest.raises(RangeError, match="flip_prob must lie in"):
        replace(PROTOCOL, flip_prob=2.0)
