"""How images are brought to a size."""

import numpy as np
import pytest

from patchwise.data.images import centre_crop
from patchwise.errors import RangeError
from patchwise.features.transform import CentreCrop, Squash, Transform, Whole

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("transform", "shape"),
    [
        (Squash(24), (24, 24)),
        (CentreCrop(20, 16), (16, 16)),
        (Whole(8), (32, 48)),
        (Whole(8, short_px=16), (16, 24)),
        (Whole(100), (100, 100)),
    ],
)
def test_shapes(transform: Transform, shape: tuple[int, int]) -> None:
    assert transform(IMAGE).shape == (*shape, 3)


def test_what_has_the_size_is_left_as_it_is() -> None:
    assert Squash(30)(IMAGE[:, :30]) is not None
    np.testing.assert_array_equal(Squash(30)(IMAGE[:, :30]), IMAGE[:, :30])
    np.testing.assert_array_equal(Whole(10)(IMAGE), IMAGE)
    np.testing.assert_array_equal(
        CentreCrop(20, 16)(IMAGE), centre_crop(IMAGE, resize_px=20, crop_px=16)
    )


def test_words_tell_all_transforms_apart() -> None:
    words = {str(t) for t in (Squash(8), Squash(16), CentreCrop(8, 8), Whole(8), Whole(8, 8))}
    assert len(words) == 5


@pytest.mark.bad_input
def test_sizes_are_checked() -> None:
    with pytest.raises(RangeError, match="Squash: size_px must be positive, got 0"):
        Squash(0)
    with pytest.raises(RangeError, match=r"crop_px must lie in \[1, 8\], got 9"):
        CentreCrop(8, 9)
    with pytest.raises(RangeError, match="short_px must be positive, got -1"):
        Whole(8, -1)
