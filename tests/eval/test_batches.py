"""Which images are seen when."""

import numpy as np
import pytest

from patchwise.eval.batches import steps_per_epoch, training_batches


def batches(
    count: int, batch: int, steps: int, *, seed: int = 0, rest: bool = False
) -> list[tuple[int, list[int]]]:
    found = training_batches(count, batch, seed=seed, steps=steps, rest=rest)
    return [(epoch, ids.tolist()) for epoch, ids in found]


def test_every_epoch_shows_every_image_in_another_order() -> None:
    found = batches(6, 2, 9)
    assert [epoch for epoch, _ in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    orders = [[i for _, ids in found[at : at + 3] for i in ids] for at in (0, 3, 6)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert batches(6, 2, 9) == found != batches(6, 2, 9, seed=1)


@pytest.mark.parametrize(("rest", "sizes"), [(False, [4, 4, 4, 4, 4]), (True, [4, 4, 2, 4, 4])])
def test_a_last_smaller_batch_is_left_out_or_shown(rest: bool, sizes: list[int]) -> None:
    found = batches(10, 4, 5, rest=rest)
    assert [len(ids) for _, ids in found] == sizes
    epochs = [0, 0, 0, 1, 1] if rest else [0, 0, 1, 1, 2]
    assert [epoch for epoch, _ in found] == epochs


@pytest.mark.parametrize("rest", [False, True])
def test_fewer_images_than_a_batch_are_all_shown(rest: bool) -> None:
    assert [sorted(ids) for _, ids in batches(3, 8, 2, rest=rest)] == [[0, 1, 2]] * 2


def test_as_many_steps_as_asked_for() -> None:
    for steps in (1, 2, 3, 7):
        assert len(batches(10, 4, steps)) == steps


def test_steps_of_an_epoch_by_hand() -> None:
    counts = [(10, 4), (8, 4), (3, 4)]
    assert [steps_per_epoch(*pair) for pair in counts] == [2, 2, 1]
    assert [steps_per_epoch(*pair, rest=True) for pair in counts] == [3, 2, 1]


def test_ids_are_whole_numbers() -> None:
    assert next(training_batches(5, 2, seed=0, steps=1))[1].dtype == np.int64
