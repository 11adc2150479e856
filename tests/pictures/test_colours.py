"""Colours can be told apart, also without hue where that matters."""

import itertools

import numpy as np

from patchwise.pictures.colours import HEAT, PALETTE, heat, rgb


def test_rgb_reads_hexadecimal() -> None:
    assert rgb("#01ff10") == (1, 255, 16)


def test_the_palette_is_of_different_colours() -> None:
    for first, second in itertools.combinations(PALETTE, 2):
        difference = np.subtract(rgb(first), rgb(second))
        assert np.linalg.norm(difference) > 60, (first, second)


def test_heat_gets_ever_lighter() -> None:
    light = heat(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()


def test_heat_begins_and_ends_with_its_scale() -> None:
    assert heat(np.array([0.0, 1.0])).tolist() == [list(rgb(HEAT[0])), list(rgb(HEAT[-1]))]
    assert (heat(np.array([-1.0, 2.0])) == heat(np.array([0.0, 1.0]))).all()
    assert heat(np.zeros((2, 3))).shape == (2, 3, 3)
