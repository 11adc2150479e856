"""How images are brought to a size."""

import numpy as np
import pytest

from patchwise.data.images import centre_crop
from patchwise.errors import ConfigError, RangeError
from patchwise.features.transform import CentreCrop, Squash, Transform, Whole, parse_size

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("transform", "shape"),
    [
        (Squash(24), (24, 24)),
        (CentreCrop(20, 16), (16, 16)),
        (Whole(8), (32, 48)),
        (Whole(8, short_px=16), (16, 24)),
        (Whole(100), (100, 100)),
        (Whole(8, short_px=64), (64, 104)),
        (Whole(8, short_px=64, enlarge=False), (32, 48)),
        (Whole(8, short_px=16, enlarge=False), (16, 24)),
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
    others = (Squash(8), Squash(16), CentreCrop(8, 8), Whole(8), Whole(8, 8), Whole(8, 8, False))
    words = {str(transform) for transform in others}
    assert len(words) == 6


@pytest.mark.parametrize(
    ("text", "transform"),
    [
        ("square:448", Squash(448)),
        ("crop:256,224", CentreCrop(256, 224)),
        ("short:448", Whole(16, 448)),
        ("short:450", Whole(16, 450)),
        ("most:448", Whole(16, 448, enlarge=False)),
        ("own", Whole(16)),
    ],
)
def test_sizes_as_users_name_them(text: str, transform: Transform) -> None:
    assert parse_size(text, 16) == transform


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "text", ["448", "square", "square:", "square:4,5", "crop:256", "own:3", "short:-4", "short:1.5",
             "circle:3", "", "crop:256,224,", "short:x"]
)  # fmt: skip
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"size must be one of square:PX, .*, got '"):
        parse_size(text, 16)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "nearest"), [("square:450", 448), ("crop:256,230", 224), ("square:0", 16)]
)
def test_squares_are_made_of_whole_patches(text: str, nearest: int) -> None:
    with pytest.raises(ConfigError, match=f"patch of 16 px, got '{text}'; {nearest} is"):
        parse_size(text, 16)
    with pytest.raises(RangeError, match="short_px must be positive, got 0"):
        parse_size("short:0", 16)


@pytest.mark.bad_input
def test_sizes_are_checked() -> None:
    with pytest.raises(RangeError, match="Squash: size_px must be positive, got 0"):
        Squash(0)
    with pytest.raises(RangeError, match=r"crop_px must lie in \[1, 8\], got 9"):
        CentreCrop(8, 9)
    with pytest.raises(RangeError, match="short_px must be positive, got -1"):
        Whole(8, -1)
