"""Held where memory allows, made again where not; the same either way."""

from collections.abc import Iterator

import pytest
import torch

from patchwise.features.held import Held


class Maker:
    """Makes seven rows of 40 bytes in batches of three, and counts the batches."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Iterator[torch.Tensor]:
        rows = torch.arange(70.0).reshape(7, 10)
        for batch in torch.split(rows, 3):
            self.made += 1
            yield batch.clone()


@pytest.mark.parametrize(("most_bytes", "made"), [(280, 3), (279, 9), (0, 9)])
def test_what_fits_is_made_once(most_bytes: int, made: int) -> None:
    maker = Maker()
    held = Held(maker, rows=7, most_bytes=most_bytes)
    for _ in range(3):
        batches = list(held)
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert torch.equal(torch.cat(batches), torch.arange(70.0).reshape(7, 10))
    assert maker.made == made


def test_what_is_held_is_a_copy() -> None:
    held = Held(Maker(), rows=7, most_bytes=280)
    for batch in held:
        batch.zero_()
    assert torch.equal(torch.cat(list(held)), torch.arange(70.0).reshape(7, 10))


def test_a_pass_that_was_not_finished_is_begun_anew() -> None:
    maker = Maker()
    held = Held(maker, rows=7, most_bytes=280)
    next(iter(held))
    assert len(list(held)) == len(list(held)) == 3
    assert maker.made == 4
