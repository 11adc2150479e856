"""DINOv2's linear segmentation: its crops, its schedule, and scores at the labels' own size."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from patchwise.errors import RangeError
from patchwise.eval.heads import NormalisedHead
from patchwise.eval.linseg_dinov2 import LinearDINOv2
from patchwise.eval.segmentation_training import Learner
from patchwise.randomness import random_uniform
from tests.eval.sources import Coordinates
from tests.eval.test_segmentation_probe import noting_learner
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = LinearDINOv2(
    "p", short_px=32, window_px=32, stride_px=16, steps=60, batch=8, rate=0.1, warmup_steps=5,
    most_of_class=1.0,
)  # fmt: skip


def crops(protocol: LinearDINOv2, image: Any, label: Any, count: int = 40) -> list[tuple[Any, Any]]:
    found = []
    for draw in random_uniform(22, 0, np.arange(count)):
        pixels, labels = protocol.crop(image, label, draw)
        assert pixels.shape == (1, 3, protocol.window_px, protocol.window_px)
        assert labels.shape == (1, protocol.window_px, protocol.window_px)
        found.append((pixels[0].numpy(), labels[0].numpy()))
    return found


def test_labels_stay_with_their_pixels_and_the_rest_has_none() -> None:
    image, label = Coordinates(48, 64).read(0)
    shares, flipped = [], 0
    for pixels, labels in crops(replace(PROTOCOL, short_px=64, window_px=64), image, label):
        shown = labels != 255
        x = pixels[1].astype(float) / 3
        inside = shown.copy()
        inside[:, :4] = inside[:, -4:] = False
        inside[:, np.nonzero(shown.any(0))[0][-4:]] = False
        assert abs(x - labels)[inside].max() < 2.5
        rows, columns = shown.any(1).sum(), shown.any(0).sum()
        assert shown[:rows, :columns].all()  # the rest lies to the right and below
        outside = pixels[:, ~shown]
        assert (outside == np.array([[124], [116], [104]])).all()
        shares.append(rows * columns / 64**2)
        flipped += x[0, 8] > x[0, 20]
    assert min(shares) < 0.5  # scale 0.5: 32 x 43 pixels of 64 x 64
    assert max(shares) == 1
    assert 10 < flipped < 30


def test_scales_are_those_asked_for() -> None:
    """The image is a ramp of 128 columns: its slope in the crop tells the scale."""
    image, label = Coordinates(64, 80).read(0)
    slopes = []
    for _, labels in crops(replace(PROTOCOL, flip_prob=0.0), image, label, 200):
        row = labels[0][labels[0] != 255].astype(float)
        slopes.append((row[-1] - row[0]) / (len(row) - 1))  # columns of the image a pixel
    factors = 64 / 32 / np.array(slopes)
    assert 0.45 < factors.min() < 0.6
    assert 1.8 < factors.max() < 2.2
    assert 1.1 < factors.mean() < 1.4


def test_crops_of_one_class_are_drawn_again() -> None:
    label = np.zeros((64, 64), np.uint8)
    label[:, 40:] = 1
    image = np.repeat(label[..., None], 3, axis=2)
    fixed = replace(PROTOCOL, window_px=32, short_px=64, scale=(1.0, 1.0))
    shares = []
    for most in (0.75, 1.0):
        found = crops(replace(fixed, most_of_class=most), image, label, 100)
        shares.append([max((labels == c).mean() for c in (0, 1)) for _, labels in found])
    assert np.mean(np.array(shares[0]) >= 0.75) < 0.05
    assert np.mean(np.array(shares[1]) >= 0.75) > 0.25


def test_the_rate_rises_and_falls_as_mmsegmentations() -> None:
    """Its rule, written out: poly of power 1, times a warm-up from a millionth."""
    published = LinearDINOv2("p")
    for step in (0, 1, 750, 1499, 1500, 20_000, 39_999):
        regular = 1e-3 * (1 - step / 40_000)
        if step < 1500:
            regular *= 1 - (1 - step / 1500) * (1 - 1e-6)
        assert published.rate_at(step) == pytest.approx(regular)
    assert published.rate_at(0) == pytest.approx(1e-9)
    assert replace(PROTOCOL, warmup_steps=0).rate_at(0) == 0.1


def test_the_optimiser_is_the_published_one() -> None:
    optimizer = LinearDINOv2("p").learner(subject_of(Sighted()), NormalisedHead(3, 3)).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["weight_decay"] == 1e-4
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_steps_and_tests() -> None:
    noting = noting_learner()
    tested = list(replace(PROTOCOL, steps=20).train(noting, ColourBlocks(24)))
    assert tested == [3, 6, 9, 12, 15, 18, 20]
    assert noting.rates[1] == pytest.approx(0.1 * 19 / 20 * (1 - 4 / 5), rel=1e-4)
    assert noting.squares[0].pixels.shape == (8, 3, 32, 32)


class Odd(Sighted):
    """Patches that do not divide the window."""

    patch_px = 12


@pytest.mark.parametrize("backbone", [Sighted(), Odd()])
def test_predictions_are_means_of_windows_at_the_labels_own_size(backbone: Sighted) -> None:
    protocol = replace(PROTOCOL, short_px=40, window_px=32, stride_px=16)
    head = NormalisedHead(3, 3).eval()
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(3)[..., None, None])  # rows against columns
    learner: Learner = protocol.learner(subject_of(backbone), head)
    source = Coordinates(60, 80)
    (seen,) = protocol.see(learner, source, [2])
    windows = 2 * 3  # of an image of 40 x 53
    side = -(-32 // backbone.patch_px)
    assert seen.features.shape == (windows, side, side, 3)
    assert seen.labels[0].shape == (60, 80)
    maps = head(seen.features).detach()
    total, count = torch.zeros(3, 40, 53), torch.zeros(40, 53)
    for row, top in enumerate((0, 8)):
        for column, left in enumerate((0, 16, 21)):
            scores = F.interpolate(maps[row * 3 + column][None], size=(32, 32), mode="bilinear")
            total[:, top : top + 32, left : left + 32] += scores[0]
            count[top : top + 32, left : left + 32] += 1
    enlarged = F.interpolate((total / count)[None], size=(60, 80), mode="bilinear")
    (classes,) = protocol.predict(learner, seen)
    assert (classes == enlarged[0].argmax(dim=0)).float().mean() > 0.999
    assert 0.2 < (classes == 0).float().mean() < 0.8


def test_it_learns_and_the_best_epoch_stands_beside_the_last() -> None:
    result = PROTOCOL.run(subject_of(Sighted()), colour_data())
    assert result.miou > 0.95
    assert result.best_miou is not None
    assert result.best_miou >= result.miou
    assert replace(PROTOCOL, every_epoch=False).run(subject_of(Sighted()), colour_data()).iou == (
        result.iou
    )


def test_patches_that_do_not_divide_the_window_will_do() -> None:
    few = replace(PROTOCOL, steps=40, every_epoch=False)
    assert few.run(subject_of(Odd()), colour_data()).miou > 0.5


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window_px": 33}, r"LinearDINOv2: window_px must lie in \[1, 32\], got 33"),
        ({"stride_px": 40}, r"stride_px must lie in \[1, 32\], got 40"),
        ({"warmup_steps": 61}, r"warmup_steps must lie in \[0, 60\], got 61"),
        ({"scale": (2.0, 1.0)}, r"scale\[1\] must lie in \[2.0, 100\], got 1.0"),
        ({"most_of_class": 0.0}, "most_of_class must be positive, got 0"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(PROTOCOL, **changed)
