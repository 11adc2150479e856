"""Mean and deviation of pixels."""

import math

import pytest

from patchwise.configs.normalisation import IMAGENET, Normalisation, is_rgb
from patchwise.errors import RangeError

HALF = (0.5, 0.5, 0.5)


def test_those_of_imagenet_are_the_published_ones() -> None:
    assert Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) == IMAGENET


@pytest.mark.parametrize("value", [HALF, (0.0, 1.0, 0.5), (0, 1, 1)])
def test_a_mean_lies_among_the_pixels(value: object) -> None:
    assert is_rgb(value)


def test_a_deviation_is_not_zero() -> None:
    assert is_rgb((1.0, 0.1, 1e-3), positive=True)
    for at in range(3):
        assert not is_rgb(tuple(0.0 if i == at else 0.5 for i in range(3)), positive=True)


WRONG = [
    *(0.5, "0.5", None, [0.5, 0.5, 0.5], (), (0.5, 0.5), (0.5,) * 4),
    *((0.5, 0.5, 1.01), (-0.1, 0.5, 0.5), (0.5, math.nan, 0.5), (0.5, math.inf, 0.5)),
    *((0.5, "0.5", 0.5), (True, 0.5, 0.5), (0.5, None, 0.5), (123.675, 116.28, 103.53)),
]


@pytest.mark.bad_input
@pytest.mark.parametrize("value", WRONG)
def test_other_values_are_refused(value: object) -> None:
    message = r"^Normalisation: mean must be three numbers in \[0, 1\], got .*; pixels are in \[0, "
    with pytest.raises(RangeError, match=message):
        Normalisation(value, HALF)  # type: ignore[arg-type]
    message = r"^Normalisation: std must be three numbers in \(0, 1\], got .*; pixels are in \[0, "
    with pytest.raises(RangeError, match=message):
        Normalisation(HALF, value)  # type: ignore[arg-type]


@pytest.mark.bad_input
def test_a_deviation_of_zero_is_refused() -> None:
    with pytest.raises(RangeError, match=r"std must be three numbers in \(0, 1\], got \(0.5, 0, "):
        Normalisation(HALF, (0.5, 0, 0.5))
