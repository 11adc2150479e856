"""Linear segmentation: what its crops are, and what it learns."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from patchwise.errors import RangeError
from patchwise.eval.linseg import LinearSegmentation
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = LinearSegmentation(
    "p", train_px=32, test_px=32, steps=30, batch=8, rate=0.1, half_precision=False
)


class Coordinates:
    """Images whose colours, and labels, tell where each pixel was."""

    def __init__(self, height: int = 48, width: int = 64) -> None:
        self.size = height, width

    def __len__(self) -> int:
        return 4

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        image = np.stack([3 * y, 3 * x, 0 * x], axis=-1).astype(np.uint8)
        return image, x.astype(np.uint8)

    def fingerprint(self) -> str:
        return ""


def crops(protocol: LinearSegmentation, source: Any, count: int) -> list[tuple[Any, Any]]:
    """Image and label of the first crops."""
    found: list[tuple[Any, Any]] = []
    for squares in protocol._batches(source):
        found += zip(squares.pixels.numpy(), squares.labels.numpy(), strict=True)
        if len(found) >= count:
            break
    return found[:count]


def test_labels_stay_with_their_pixels() -> None:
    protocol = replace(PROTOCOL, train_px=64, test_px=64, batch=4)
    flipped = 0
    for image, label in crops(protocol, Coordinates(), 40):
        x = image[1].astype(float) / 3
        assert abs(x[:, 4:-4] - label[:, 4:-4]).max() < 2.5
        flipped += x[0, 0] > x[0, -1]
    assert 10 < flipped < 30


def test_crops_have_the_area_and_the_aspect_that_are_asked_for() -> None:
    protocol = replace(PROTOCOL, train_px=64, test_px=64, batch=4, flip_prob=0.0)
    areas, aspects = [], []
    for image, _ in crops(protocol, Coordinates(), 60):
        height, width = (np.ptp(image[c].astype(float)) / 3 * 64 / 63 for c in (0, 1))
        areas.append(height * width / (48 * 64))
        aspects.append(width / height)
    assert 0.5 < min(areas) < 0.72  # a side cut off at the image's edge makes some smaller
    assert 0.85 < max(areas) <= 1.05
    assert 0.7 < min(aspects) < 0.95
    assert 1.2 < max(aspects) < 1.45


def test_every_epoch_shows_every_image() -> None:
    source = Coordinates()
    seen: list[int] = []

    class Noting(Coordinates):
        def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            seen.append(index)
            return source.read(index)

    crops(replace(PROTOCOL, batch=2), Noting(), 12)
    assert [sorted(seen[start : start + 4]) for start in (0, 4, 8)] == [[0, 1, 2, 3]] * 3


def test_the_best_epoch_stands_beside_the_last_and_does_not_change_it() -> None:
    data = colour_data()
    plain = replace(PROTOCOL, every_epoch=False).run(subject_of(Sighted()), data)
    both = PROTOCOL.run(subject_of(Sighted()), data)
    assert plain.best_miou is None
    assert both.best_miou is not None
    assert both.best_miou >= both.miou == plain.miou


def test_it_learns_from_the_labels() -> None:
    data = colour_data()
    scores = [
        replace(PROTOCOL, steps=steps, every_epoch=False).run(subject_of(Sighted()), data).miou
        for steps in (1, 60)
    ]
    assert scores[0] < 0.8
    assert scores[1] > 0.97


def test_fewer_images_than_a_batch_will_do() -> None:
    data = colour_data()
    few = replace(data, fit=ColourBlocks(3))
    assert replace(PROTOCOL, steps=3).run(subject_of(Sighted()), few).miou >= 0


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["train_px", "test_px", "steps", "batch", "rate"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"{name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0}))
