"""The plain ranking loss against pairs worked out by hand, and how runs are made."""

import pytest
import torch
from benchmarks.plain_ranking import plain_cotap_loss, plain_rank_sums
from benchmarks.ranking import draw_pairs, run


@pytest.mark.parametrize(
    ("surrogate", "expected"), [("huber", [7.0, 0.25, 0.0]), ("hinge", [5.0, 0.5, 0.0])]
)
def test_the_plain_sums_are_those_by_hand(surrogate: str, expected: list[float]) -> None:
    """At -1, -0.5 and 0.5 phi is 3, 2 and 0.25 of huber, 2, 1.5 and 0.5 of hinge."""
    prediction, target = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1.0, 0.0, -1.0])
    misranked, agreed = plain_rank_sums(prediction, target, 1.0, surrogate)
    assert misranked.tolist() == expected
    assert agreed.tolist() == [1, 1, 2]


def test_the_plain_loss_is_that_by_hand() -> None:
    prediction, target = torch.zeros(2).double(), torch.tensor([1.0, 0.0]).double()
    both = plain_cotap_loss(prediction, target, torch.tensor([True, True]))
    assert float(both) == pytest.approx(3 / 7, abs=1e-5)
    first = plain_cotap_loss(prediction, target, torch.tensor([True, False]))
    assert float(first) == pytest.approx(0.5 * 1.2 / 1.22, abs=1e-5)


@pytest.mark.parametrize("name", ["ours", "plain"])
def test_a_run_goes_backward(name: str) -> None:
    pairs = draw_pairs(50)
    run("nothing", pairs)
    assert pairs[0].grad is None
    run(name, pairs)
    assert pairs[0].grad is not None
    assert pairs[0].grad.any()
    assert draw_pairs(50)[0].equal(pairs[0])
