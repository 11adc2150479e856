"""What the matched distillation loss must be, whatever its inputs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.losses.matched_distillation import TokenPairs, matched_distillation_loss
from tests.losses.by_scores import distil

FIXTURE = Path(__file__).parents[1] / "fixtures" / "pwself_loss.npz"


def random_case(
    seed: int, *, student: int = 7, teacher: int = 5, k: int = 6, pairs: int = 9
) -> tuple[Tensor, Tensor, TokenPairs]:
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(student, k, generator=g, dtype=torch.float64)
    t = torch.randn(teacher, k, generator=g, dtype=torch.float64) / 10
    matched = TokenPairs(
        teacher=torch.randint(teacher, (pairs,), generator=g),
        student=torch.randint(student, (pairs,), generator=g),
        weight=torch.rand(pairs, generator=g, dtype=torch.float64),
    )
    return s, t, matched


def slow_reference(s: Tensor, t: Tensor, pairs: TokenPairs, t_s: float, t_t: float) -> float:
    """The formula once more, one pair and one prototype at a time."""
    total = 0.0
    for row_t, row_s, weight in zip(pairs.teacher, pairs.student, pairs.weight, strict=True):
        target = [math.exp(float(x) / t_t) for x in t[row_t]]
        prediction = [math.exp(float(x) / t_s) for x in s[row_s]]
        for x, y in zip(target, prediction, strict=True):
            total -= float(weight) * x / sum(target) * math.log(y / sum(prediction))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_the_formula_in_plain_loops(seed: int) -> None:
    s, t, pairs = random_case(seed)
    loss = distil(s, t, pairs, student_temperature=0.3, teacher_temperature=0.2)
    assert float(loss) == pytest.approx(slow_reference(s, t, pairs, 0.3, 0.2), rel=1e-12)


def test_it_equals_the_published_systems_value_and_gradients() -> None:
    """One batch with shared geometry: value, both gradients, all pairs of views."""
    with np.load(FIXTURE) as file:
        data = {name: torch.from_numpy(file[name]) for name in file.files}
    student_global = data["student_global"].requires_grad_()
    student_local = data["student_local"].requires_grad_()
    images, tokens, locals_ = 3, 17, 5
    centred = (data["teacher"] - data["center"]).flatten(0, 1)
    total = torch.zeros((), dtype=torch.float64)
    for q in range(2):
        for v in range(6):
            if v == q:
                continue
            index_t, index_s = data[f"pairs_{q}_{v}"]
            scores = student_global if v < 2 else student_local
            first, length = (v, tokens) if v < 2 else (v - 2, locals_)
            image = torch.arange(images)[:, None]
            count = images * len(index_t)
            pairs = TokenPairs(
                teacher=((q * images + image) * tokens + index_t).flatten(),
                student=((first * images + image) * length + index_s).flatten(),
                weight=torch.full((count,), 1 / (10 * count), dtype=torch.float64),
            )
            total = total + distil(scores.flatten(0, 1), centred, pairs)
    total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(total.detach(), data["loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(student_global.grad, data["grad_global"], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(student_local.grad, data["grad_local"], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_equal_student_scores_cost_log_k(k: int) -> None:
    pairs = TokenPairs(torch.arange(4), torch.arange(4), torch.full((4,), 0.25))
    loss = distil(torch.full((4, k), 3.0), torch.randn(4, k), pairs)
    assert float(loss) == pytest.approx(math.log(k), rel=1e-5)


def test_a_sure_and_right_student_costs_nothing() -> None:
    scores = torch.eye(5)
    pairs = TokenPairs(torch.arange(5), torch.arange(5), torch.full((5,), 0.2))
    loss = distil(scores, scores, pairs, student_temperature=0.01, teacher_temperature=0.01)
    assert float(loss) < 1e-6


def test_the_wrong_partner_costs_more() -> None:
    scores = torch.eye(5)
    right = TokenPairs(torch.arange(5), torch.arange(5), torch.full((5,), 0.2))
    wrong = TokenPairs(torch.arange(5), torch.arange(5).roll(1), torch.full((5,), 0.2))
    assert distil(scores, scores, wrong) > distil(scores, scores, right)


def test_unmatched_tokens_do_not_matter() -> None:
    s, t, _ = random_case(0)
    pairs = TokenPairs(torch.tensor([0]), torch.tensor([1]), torch.ones(1, dtype=torch.float64))
    other_s, other_t = s.clone(), t.clone()
    other_s[2:] += 5
    other_t[1:] -= 5
    torch.testing.assert_close(distil(s, t, pairs), distil(other_s, other_t, pairs))


def test_it_is_linear_in_the_weights() -> None:
    s, t, pairs = random_case(3)
    doubled = TokenPairs(pairs.teacher, pairs.student, 2 * pairs.weight)
    torch.testing.assert_close(2 * distil(s, t, pairs), distil(s, t, doubled))


def test_no_pairs_cost_nothing_and_give_a_gradient() -> None:
    s = torch.randn(3, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = distil(s, torch.randn(2, 4), TokenPairs(none, none, torch.zeros(0)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert s.grad is not None
    assert not s.grad.any()


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", ["prototypes", "target"])
def test_different_numbers_of_channels_are_named(wrong: str) -> None:
    s, t, pairs = random_case(0)
    prototypes, target = torch.eye(6), t
    if wrong == "target":
        target = t[:, :5]
    else:
        prototypes = prototypes[:, :5]
    with pytest.raises(ShapeError, match=rf"{wrong} must have shape \(any, 6\), got \(\d, 5\)"):
        matched_distillation_loss(s, prototypes, target, pairs)


@pytest.mark.bad_input
def test_pairs_of_different_lengths_are_named() -> None:
    s, t, pairs = random_case(0)
    with pytest.raises(ShapeError, match=r"must have the same shape, got .*'weight': \(8,\)"):
        distil(s, t, TokenPairs(pairs.teacher, pairs.student, pairs.weight[:8]))


@pytest.mark.bad_input
@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_is_not_there_is_named(row: int) -> None:
    s, t, _ = random_case(0)
    pairs = TokenPairs(torch.tensor([row]), torch.tensor([0]), torch.ones(1))
    with pytest.raises(RangeError, match=rf"pairs.teacher must lie in \[0, 5\), got .* {row}"):
        distil(s, t, pairs)


@pytest.mark.bad_input
def test_a_temperature_of_zero_is_named() -> None:
    s, t, pairs = random_case(0)
    with pytest.raises(RangeError, match="student_temperature must be positive, got 0"):
        distil(s, t, pairs, student_temperature=0.0)
