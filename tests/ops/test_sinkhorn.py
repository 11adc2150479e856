"""Sinkhorn: as published, by the formula in decimal numbers, and by what it is for."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import patchwise.ops.sinkhorn as module
from patchwise.errors import RangeError, ShapeError
from patchwise.ops.sinkhorn import sinkhorn

VECTORS = np.load(Path(__file__).parents[1] / "fixtures" / "cotap.npz")


def random_scores(rows: int, k: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, k, generator=generator, dtype=torch.float64) * 2 - 1


def slow_reference(scores: Tensor, temperature: float, iterations: int) -> Tensor:
    """The formula, one number at a time; decimal numbers do not overflow."""
    rows, k = scores.shape
    q = [[(Decimal(float(s)) / Decimal(temperature)).exp() for s in row] for row in scores]
    total = sum(sum(row) for row in q)
    q = [[x / total for x in row] for row in q]
    for _ in range(iterations):
        columns = [sum(row[j] for row in q) for j in range(k)]
        q = [[x / columns[j] / k for j, x in enumerate(row)] for row in q]
        q = [[x / sum(row) / rows for x in row] for row in q]
    return torch.tensor([[float(x / sum(row)) for x in row] for row in q], dtype=torch.float64)


@pytest.mark.parametrize(("name", "temperature"), [("t005", 0.05), ("t007", 0.07)])
def test_it_equals_the_published_vectors(name: str, temperature: float) -> None:
    scores = torch.from_numpy(VECTORS["sinkhorn_scores"])
    wanted = torch.from_numpy(VECTORS[f"sinkhorn_{name}"])
    exact = sinkhorn(scores.double(), temperature=temperature)
    torch.testing.assert_close(exact, wanted, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        sinkhorn(scores, temperature=temperature), wanted.float(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("iterations", [1, 2, 3, 7])
@pytest.mark.parametrize(("rows", "k"), [(9, 4), (3, 8), (1, 5), (6, 1)])
def test_it_equals_the_formula(rows: int, k: int, iterations: int) -> None:
    scores = random_scores(rows, k)
    found = sinkhorn(scores, temperature=0.3, iterations=iterations)
    wanted = slow_reference(scores, 0.3, iterations)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_temperature_is_too_low(dtype: torch.dtype) -> None:
    """Quotients of exponentials up to exp(+-20,000), and prototypes that nobody would take."""
    scores = random_scores(9, 4).to(dtype)
    scores[:, 2] -= 1
    found = sinkhorn(scores, temperature=1e-4)
    wanted = slow_reference(scores.double(), 1e-4, 3)
    tolerance = 1e-9 if dtype == torch.float64 else 0.01
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=tolerance)


def test_half_precision_is_worked_on_in_float32() -> None:
    scores, queue = (random_scores(rows, 6).bfloat16() for rows in (5, 7))
    found = sinkhorn(scores, queue, temperature=0.05)
    assert found.dtype == torch.float32
    assert torch.equal(found, sinkhorn(scores.float(), queue.float(), temperature=0.05))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found, sinkhorn(scores, queue, temperature=0.05))


def test_a_queue_counts_as_rows_without_an_answer() -> None:
    scores, queue = random_scores(5, 6), random_scores(7, 6, seed=1)
    found = sinkhorn(scores, queue, temperature=0.1)
    whole = sinkhorn(torch.cat([scores, queue]), temperature=0.1)
    torch.testing.assert_close(found, whole[:5])
    assert not torch.allclose(found, sinkhorn(scores, temperature=0.1))


def test_an_empty_queue_is_none() -> None:
    scores = random_scores(5, 6)
    found = sinkhorn(scores, scores.new_zeros(0, 6), temperature=0.1)
    assert torch.equal(found, sinkhorn(scores, temperature=0.1))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, queue = random_scores(8, 6), random_scores(7, 6, seed=1)
    whole = sinkhorn(scores, queue, temperature=0.05)
    for numbers in (1, 18):
        monkeypatch.setitem(module._BLOCK_NUMBERS, "cpu", numbers)
        torch.testing.assert_close(sinkhorn(scores, queue, temperature=0.05), whole)


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_equal_scores_belong_to_all_alike(rows: int, dtype: torch.dtype) -> None:
    found = sinkhorn(torch.full((rows, 8), 0.7, dtype=dtype), temperature=0.05)
    torch.testing.assert_close(found, torch.full_like(found, 1 / 8))


def test_a_sample_alone_belongs_to_all_alike() -> None:
    found = sinkhorn(random_scores(1, 5), temperature=0.05)
    torch.testing.assert_close(found, torch.full_like(found, 1 / 5))


def test_prototypes_take_equal_shares_in_the_end() -> None:
    scores = random_scores(40, 5)
    scores[:, 0] += 3
    shares = sinkhorn(scores, temperature=0.2, iterations=200).sum(dim=0)
    torch.testing.assert_close(shares, torch.full_like(shares, 40 / 5), rtol=1e-6, atol=0)


def test_what_favours_a_prototype_for_all_does_not_count() -> None:
    scores = random_scores(9, 4)
    favoured = scores + torch.tensor([3.0, 0.0, -2.0, 0.5])
    torch.testing.assert_close(
        sinkhorn(favoured, temperature=0.1), sinkhorn(scores, temperature=0.1)
    )


def test_no_rows_have_no_answer() -> None:
    assert sinkhorn(torch.zeros(0, 4), temperature=0.1).shape == (0, 4)
    assert sinkhorn(torch.zeros(0, 4), torch.ones(3, 4), temperature=0.1).shape == (0, 4)


def test_it_gives_no_gradient_and_leaves_the_scores_alone() -> None:
    scores = random_scores(4, 3).requires_grad_()
    before = scores.detach().clone()
    assert not sinkhorn(scores, temperature=0.1).requires_grad
    assert torch.equal(scores, before)


@pytest.mark.bad_input
def test_what_cannot_be_assigned_is_refused() -> None:
    scores = random_scores(4, 3)
    with pytest.raises(ShapeError, match=r"queue must have shape \(any, 3\), got \(5, 2\)"):
        sinkhorn(scores, torch.zeros(5, 2), temperature=0.1)
    with pytest.raises(ShapeError, match=r"scores must have shape \(any, any\), got \(4,\)"):
        sinkhorn(scores[:, 0], temperature=0.1)
    with pytest.raises(RangeError, match="sinkhorn: temperature must be positive, got 0"):
        sinkhorn(scores, temperature=0.0)
    with pytest.raises(RangeError, match="sinkhorn: iterations must be positive, got 0"):
        sinkhorn(scores, temperature=0.1, iterations=0)
