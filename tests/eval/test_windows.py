"""Windows cover an image, and their scores are averaged, as plain loops say."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from patchwise.configs.normalisation import IMAGENET
from patchwise.eval.windows import (
    average_windows,
    cut_windows,
    lay_on_mean,
    pad_to_patches,
    window_places,
)

DRAW = torch.Generator().manual_seed(0)
CASES = [((8, 8), 8, 5), ((8, 21), 8, 5), ((19, 9), 8, 5), ((16, 24), 8, 8), ((9, 30), 8, 3)]


@pytest.mark.parametrize(("size", "window_px", "stride_px"), CASES)
def test_windows_cover_every_pixel_at_the_stride(
    size: tuple[int, int], window_px: int, stride_px: int
) -> None:
    places = window_places(size, window_px=window_px, stride_px=stride_px)
    covered = np.zeros(size, int)
    for top, left in places:
        assert 0 <= top <= size[0] - window_px
        assert 0 <= left <= size[1] - window_px
        covered[top : top + window_px, left : left + window_px] += 1
    assert covered.min() >= 1
    assert len(set(places)) == len(places)
    lefts = sorted({left for _, left in places})
    assert all(gap == stride_px for gap in np.diff(lefts)[:-1])
    assert all(0 < gap <= stride_px for gap in np.diff(lefts))


def test_as_many_windows_as_mmsegmentation_takes() -> None:
    assert window_places((512, 512), window_px=512, stride_px=341) == [(0, 0)]
    assert window_places((512, 853), window_px=512, stride_px=341) == [(0, 0), (0, 341)]
    three = window_places((512, 854), window_px=512, stride_px=341)
    assert three == [(0, 0), (0, 341), (0, 342)]


def test_windows_are_parts_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)
    places = window_places((9, 14), window_px=8, stride_px=5)
    windows = cut_windows(image, places, window_px=8)
    for window, (top, left) in zip(windows, places, strict=True):
        expected = image[top : top + 8, left : left + 8].transpose(2, 0, 1)
        np.testing.assert_array_equal(window.numpy(), expected)


@pytest.mark.parametrize(("size", "window_px", "stride_px"), CASES)
def test_scores_are_means_over_the_windows_of_a_pixel(
    size: tuple[int, int], window_px: int, stride_px: int
) -> None:
    places = window_places(size, window_px=window_px, stride_px=stride_px)
    maps = torch.randn(len(places), 3, 2, 2, generator=DRAW)
    enlarged = F.interpolate(maps, size=(window_px, window_px), mode="bilinear")
    scores = average_windows(maps, places, size, window_px=window_px)
    assert scores.shape == (3, *size)
    for y in range(0, size[0], 3):
        for x in range(0, size[1], 4):
            mine = [
                enlarged[i, :, y - top, x - left]
                for i, (top, left) in enumerate(places)
                if top <= y < top + window_px and left <= x < left + window_px
            ]
            torch.testing.assert_close(scores[:, y, x], torch.stack(mine).mean(dim=0))


def test_a_frame_makes_whole_patches_and_has_the_mean_colour() -> None:
    pixels = torch.randint(256, (2, 3, 9, 12), dtype=torch.uint8, generator=DRAW)
    padded = pad_to_patches(pixels, patch_px=7)
    assert padded.shape == (2, 3, 14, 14)
    assert torch.equal(padded[:, :, 2:11, 1:13], pixels)  # 5 rows more: 2 above, 3 below
    mean = torch.tensor(IMAGENET.mean) * 255
    for corner in (padded[:, :, 0, 0], padded[:, :, -1, -1]):
        assert (corner.float() - mean).abs().max() <= 0.5
    assert pad_to_patches(pixels, patch_px=3) is pixels


def test_images_are_laid_where_they_are_told() -> None:
    pixels = torch.randint(256, (1, 3, 2, 3), dtype=torch.uint8, generator=DRAW)
    laid = lay_on_mean(pixels, (4, 5), (1, 2))
    assert torch.equal(laid[:, :, 1:3, 2:5], pixels)
    assert laid.shape == (1, 3, 4, 5)
