"""Held where memory allows, made again where not; the same either way."""

from collections.abc import Iterator

import pytest
import torch

from patchwise.features.held import Held


class Maker:
    """Makes four tensors of 40 bytes, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Iterator[torch.Tensor]:
        for number in range(4):
            self.made += 1
            yield torch.full((10,), float(number))


@pytest.mark.parametrize(("most_bytes", "made"), [(160, 4), (159, 12), (0, 12)])
def test_what_fits_is_made_once(most_bytes: int, made: int) -> None:
    maker = Maker()
    held = Held(maker, most_bytes=most_bytes)
    for _ in range(3):
        assert [int(tensor[0]) for tensor in held] == [0, 1, 2, 3]
    assert maker.made == made


def test_what_does_not_fit_is_not_held() -> None:
    held = Held(Maker(), most_bytes=100)
    sizes = [sum(tensor.nbytes for tensor in held._held) for _ in held]
    assert sizes == [40, 80, 0, 0]


def test_a_pass_that_was_not_finished_is_begun_anew() -> None:
    maker = Maker()
    held = Held(maker, most_bytes=160)
    next(iter(held))
    assert len(list(held)) == len(list(held)) == 4
    assert maker.made == 5
