"""Digests: equal for equal pixels; close for what looks the same, and for nothing else."""

import numpy as np
import pytest

from patchwise.checkup.duplicates import MOST_BITS, MOST_LEVELS
from patchwise.checkup.hashing import (
    colour_distance,
    flat_frac,
    look_at,
    pixel_digest,
)
from tests.checkup.conftest import Picture, saved_again

NUMBERS = range(12)


def bits_apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_a_digest_is_that_of_pixels_and_size(picture: Picture) -> None:
    pixels = picture(0)
    assert pixel_digest(pixels) == pixel_digest(pixels.copy())
    assert pixel_digest(pixels[:, ::-1][:, ::-1]) == pixel_digest(pixels)
    changed = pixels.copy()
    changed[5, 6, 1] ^= 1
    others = [changed, pixels[:, ::-1], pixels.swapaxes(0, 1), pixels[:-1], picture(1)]
    others.append(pixels.reshape(pixels.shape[1], pixels.shape[0], 3))
    digests = {pixel_digest(other) for other in (pixels, *others)}
    assert len(digests) == len(others) + 1
    assert {len(digest) for digest in digests} == {16}


@pytest.mark.parametrize(
    ("quality", "scale"), [(95, 1.0), (50, 1.0), (25, 1.0), (75, 0.5), (85, 2.0), (75, 0.4)]
)
def test_what_is_saved_again_looks_the_same(quality: int, scale: float, picture: Picture) -> None:
    for number in NUMBERS:
        before = look_at(picture(number))
        after = look_at(saved_again(picture(number), quality=quality, scale=scale))
        assert bits_apart(before.bits, after.bits) <= MOST_BITS
        assert colour_distance(before.colours, after.colours[None])[0] <= MOST_LEVELS


def test_other_pictures_look_different(picture: Picture) -> None:
    looks = [look_at(picture(number)) for number in range(60)]
    apart = [bits_apart(a.bits, b.bits) for i, a in enumerate(looks) for b in looks[:i]]
    assert min(apart) > 2 * MOST_BITS
    assert abs(np.mean(apart) - 32) < 2  # as of coins: the bits tell as much as 64 can


def test_a_mirrored_or_turned_picture_is_another(picture: Picture) -> None:
    pixels = picture(0)
    own = look_at(pixels).bits
    for other in (pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1], pixels.swapaxes(0, 1)):
        assert bits_apart(own, look_at(np.ascontiguousarray(other)).bits) > 2 * MOST_BITS


def test_brightness_hardly_matters_to_the_bits(picture: Picture) -> None:
    pixels = picture(3) // 2
    assert bits_apart(look_at(pixels).bits, look_at(pixels + 60).bits) <= MOST_BITS


def test_bits_are_the_low_frequencies_above_their_median(picture: Picture) -> None:
    """The transform in plain loops, of a picture of 32 x 32 px, which is not resized."""
    pixels = picture(4, 32, 32)
    grey = pixels @ [0.299, 0.587, 0.114]
    at = (np.arange(32) + 0.5) * np.pi / 32
    waves = [
        float((grey * np.outer(np.cos(down * at), np.cos(right * at))).sum())
        for down in range(8)
        for right in range(8)
    ]
    expected = "".join(str(int(wave > np.median(waves[1:]))) for wave in waves)
    assert f"{look_at(pixels).bits:064b}" == expected


def test_colours_are_means_of_a_grid() -> None:
    grid = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(look_at(grid.repeat(4, 0).repeat(4, 1)).colours, grid)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_pictures_without_contrast_are_blank(level: int, picture: Picture) -> None:
    rng = np.random.default_rng(level)
    pixels = np.full((64, 64, 3), level, np.uint8)
    assert look_at(pixels).blank
    noise = rng.integers(-2, 3, pixels.shape)
    assert look_at((pixels + noise).clip(0, 255).astype(np.uint8)).blank
    assert not look_at(picture(level)).blank


@pytest.mark.parametrize("size", [(16, 16), (16, 128), (2000, 250)])
def test_any_size_can_be_looked_at(size: tuple[int, int], picture: Picture) -> None:
    assert 0 < look_at(picture(0, *size)).bits < 2**64


def test_flat_is_the_share_of_equal_neighbours(picture: Picture) -> None:
    assert flat_frac(np.zeros((20, 30, 3), np.uint8)) == 1
    assert flat_frac(picture(0)) < 0.5
    stripes = np.zeros((600, 41, 3), np.uint8)
    stripes[:, 20:, 2] = 1  # one change of 40, in one channel only
    assert flat_frac(stripes) == pytest.approx(39 / 40)
    assert flat_frac(stripes.swapaxes(0, 1)) == 1  # to the right only
    top = np.vstack([picture(0, 500, 40), np.zeros((500, 40, 3), np.uint8)])
    assert flat_frac(top) == pytest.approx((flat_frac(top[:500]) + 1) / 2, abs=0.02)


def test_colour_distance_is_a_root_mean_square() -> None:
    one = np.full((8, 8, 3), 250, np.uint8)
    others = np.stack([one, one - 7, np.zeros_like(one)])
    np.testing.assert_allclose(colour_distance(one, others), [0, 7, 250])
