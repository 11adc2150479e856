"""Queues of scores: order, limits, what is drawn, and what several processes hold."""

import pytest
import torch
from torch import Tensor

from patchwise.distributed import OneProcess
from patchwise.errors import PatchwiseError
from patchwise.models.score_queue import ScoreQueue

ALONE = OneProcess()


class Second(OneProcess):
    """The second of two processes; the first gathers ``others``."""

    rank, size = 1, 2

    def __init__(self, others: Tensor) -> None:
        self.others = others

    def gather(self, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.int64:  # how many rows each has
            return torch.cat([torch.tensor([len(self.others)]), tensor])
        padding = self.others.new_zeros(len(tensor) - len(self.others), *self.others.shape[1:])
        return torch.cat([self.others, padding, tensor])


def rows(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None] * torch.tensor([1.0, -1.0])


def queue(capacity: int = 6, *, most: int = 3, fill: bool = False) -> ScoreQueue:
    return ScoreQueue(capacity, 2, most_a_step=most, fill=fill)


def add(made: ScoreQueue, *values: float, step: int = 0, seed: int = 0) -> list[float]:
    """Add rows, return what is there, the oldest first."""
    made.add(rows(*values), seed=seed, step=step, collectives=ALONE)
    held = made.scores.items()
    assert torch.equal(held[:, 1], -held[:, 0])
    return held[:, 0].tolist()


def test_the_oldest_rows_leave_first() -> None:
    made = queue()
    assert made.empty
    assert add(made, 1, 2) == [1, 2]
    assert not made.empty
    assert add(made, 3, 4, 5) == [1, 2, 3, 4, 5]
    assert add(made, 6, 7) == [2, 3, 4, 5, 6, 7]
    assert add(made) == [2, 3, 4, 5, 6, 7]


def test_of_too_many_rows_some_are_drawn_in_their_order() -> None:
    drawn = {tuple(add(queue(), *range(9), step=step)) for step in range(40)}
    assert len(drawn) > 20
    for values in drawn:
        assert len(set(values)) == 3
        assert list(values) == sorted(values)
    assert {value for values in drawn for value in values} == set(range(9))


def test_draws_follow_from_seed_and_step() -> None:
    first = add(queue(), *range(9), seed=3, step=5)
    assert first == add(queue(), *range(9), seed=3, step=5)
    assert first != add(queue(), *range(9), seed=4, step=5)


def test_as_many_as_are_allowed_all_enter() -> None:
    assert add(queue(most=3), 1, 2, 3) == [1, 2, 3]


def test_where_it_is_filled_all_enter_as_long_as_there_is_room() -> None:
    made = queue(7, most=2, fill=True)
    assert len(add(made, 1, 2, 3, 4)) == 4
    assert add(made, 5, 6, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert len(add(made, 8, 9, 10)) == 7
    assert int(made.scores.pushed) == 9  # full: two of three
    short = queue(4, most=2, fill=True)
    add(short, 1, 2, 3)
    assert len(add(short, 4, 5, 6)) == 4
    assert int(short.scores.pushed) == 5  # there is no room for all


def test_the_age_is_that_of_the_rows_that_are_there() -> None:
    made = queue(4)
    assert float(made.age(9)) == 0
    add(made, 1, 2, step=3)
    assert float(made.age(3)) == 0
    assert float(made.age(5)) == 2
    add(made, 3, 4, 5, step=5)  # one of step 3 is left
    assert float(made.age(6)) == pytest.approx((3 + 1 + 1 + 1) / 4)


def test_the_share_of_one_process_is_all() -> None:
    made = queue()
    assert made.share(ALONE).shape == (0, 2)
    add(made, 1, 2, 3)
    assert torch.equal(made.share(ALONE), rows(1, 2, 3))


def test_processes_add_in_order_of_rank_and_take_shares() -> None:
    made = queue()
    second = Second(rows(1))
    made.add(rows(2, 3), seed=0, step=0, collectives=second)
    assert torch.equal(made.scores.items(), rows(1, 2, 3))
    assert torch.equal(made.share(second), rows(2))
    assert int(made.steps.pushed) == 3


def test_each_process_draws_its_own() -> None:
    """What one draws says nothing of what another does."""
    same = 0
    for step in range(30):
        alone, made = queue(), queue()
        alone.add(rows(*range(9)), seed=0, step=step, collectives=ALONE)
        made.add(rows(*range(9)), seed=0, step=step, collectives=Second(rows()))
        same += torch.equal(alone.scores.items(), made.scores.items())
    assert same < 10


def test_a_saved_queue_goes_on() -> None:
    made, other = queue(), queue()
    add(made, 1, 2, step=4)
    other.load_state_dict(made.state_dict())
    assert add(other, 3) == add(made, 3)
    assert float(other.age(6)) == float(made.age(6))


def test_rows_take_the_queues_precision_and_lose_their_gradient() -> None:
    made = queue()
    made.add(rows(1).double().requires_grad_(), seed=0, step=0, collectives=ALONE)
    assert made.scores.items().dtype == torch.float32
    assert not made.scores.items().requires_grad


@pytest.mark.bad_input
def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(PatchwiseError, match="ScoreQueue: most_a_step must be positive, got 0"):
        queue(most=0)
    with pytest.raises(PatchwiseError, match="FIFO: capacity must be positive"):
        queue(0)
    with pytest.raises(PatchwiseError, match=r"FIFO\.push: items must have shape"):
        queue().add(torch.zeros(1, 3), seed=0, step=0, collectives=ALONE)
