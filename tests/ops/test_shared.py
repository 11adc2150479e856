"""Shared dimensions: canonical correlations by definition, and what must not change them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.shared import shared_dimensions

TINY = 1e-9


def views(rows: int = 400, noise: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two noisy sights of the same 5 numbers, mixed in one way; means are 0."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(5, 5, generator=draw, dtype=torch.float64)
    same = torch.randn(rows, 5, generator=draw, dtype=torch.float64)
    seen = [
        (same + noise * torch.randn(rows, 5, generator=draw, dtype=torch.float64)) @ mix
        for _ in range(2)
    ]
    first, second = (view - view.mean(dim=0) for view in seen)
    return first, second


def by_definition(first: Tensor, second: Tensor, ridge: float) -> float:
    """Positive solutions rho of X v = rho C v, without a symmetric root."""
    a, b = first.double().numpy(), second.double().numpy()
    own = (a.T @ a + b.T @ b) / (2 * len(a)) + ridge * np.eye(a.shape[1])
    cross = (a.T @ b + b.T @ a) / (2 * len(a))
    rho = np.linalg.eigvals(np.linalg.solve(own, cross)).real
    return float((rho.clip(0) ** 2).sum())


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("ridge", [1e-6, 0.1, 2.0])
def test_it_is_the_sum_of_squared_correlations(noise: float, ridge: float) -> None:
    first, second = views(noise=noise)
    expected = by_definition(first, second, ridge)
    assert float(shared_dimensions(first, second, ridge=ridge)) == pytest.approx(expected, rel=1e-8)


def test_known_correlations_are_found() -> None:
    first, second = views(rows=20_000, noise=0.5)
    rho = 1 / (1 + 0.5**2)
    assert float(shared_dimensions(first, second, ridge=TINY)) == pytest.approx(
        5 * rho**2, rel=0.02
    )


def test_the_same_twice_shares_all_and_unlike_things_share_nothing() -> None:
    first, _ = views(rows=5000)
    _, other = views(rows=5000, seed=1)
    assert float(shared_dimensions(first, first, ridge=TINY)) == pytest.approx(5)
    assert float(shared_dimensions(first, -first, ridge=TINY)) == pytest.approx(0, abs=1e-9)
    assert float(shared_dimensions(first, other, ridge=TINY)) < 0.01


def test_neither_a_linear_map_nor_the_order_changes_it() -> None:
    first, second = views()
    expected = float(shared_dimensions(first, second, ridge=TINY))
    mix = torch.randn(5, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert float(shared_dimensions(first @ mix, second @ mix, ridge=TINY)) == pytest.approx(
        expected, rel=1e-5
    )
    order = torch.randperm(400, generator=torch.Generator().manual_seed(9))
    assert float(shared_dimensions(second[order], first[order], ridge=TINY)) == pytest.approx(
        expected
    )


def test_nothing_is_shared_where_there_is_nothing() -> None:
    assert float(shared_dimensions(torch.zeros(9, 3), torch.zeros(9, 3), ridge=TINY)) == 0


def test_a_ridge_takes_away() -> None:
    first, second = views()
    values = [float(shared_dimensions(first, second, ridge=r)) for r in (1e-6, 0.1, 10.0)]
    assert values[0] > values[1] > values[2] > 0


@pytest.mark.bad_input
def test_what_are_no_two_views_is_refused() -> None:
    with pytest.raises(ShapeError, match="first and second must have the same shape"):
        shared_dimensions(torch.ones(3, 2), torch.ones(2, 2), ridge=1.0)
    with pytest.raises(ShapeError, match="first must be rows of features"):
        shared_dimensions(torch.ones(0, 2), torch.ones(0, 2), ridge=1.0)
    with pytest.raises(RangeError, match="ridge must be positive"):
        shared_dimensions(torch.ones(3, 2), torch.ones(3, 2), ridge=0.0)
