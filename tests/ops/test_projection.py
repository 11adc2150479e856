"""z-score and PCA in one pass, against scikit-learn on all rows at once."""

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from patchwise.errors import RangeError
from patchwise.ops.projection import standardised_pca


def features(count: int = 400, dims: int = 12) -> torch.Tensor:
    """Correlated channels of very different means and scales."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(count, dims, generator=generator) @ torch.randn(
        dims, dims, generator=generator
    )
    return mixed * torch.logspace(-3, 2, dims) + torch.linspace(-50, 50, dims)


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_it_is_scikit_learns_scaler_and_pca(batch: int) -> None:
    rows = features()
    found = standardised_pca(torch.split(rows, batch), 5)(rows)
    scaled = StandardScaler().fit_transform(rows.double().numpy())
    expected = torch.from_numpy(PCA(5, svd_solver="full").fit_transform(scaled)).float()
    sign = (found * expected).sum(dim=0).sign()
    torch.testing.assert_close(found * sign, expected, atol=2e-3, rtol=0)


def test_all_directions_keep_all_distances_of_the_scaled_rows() -> None:
    rows = features()
    projection = standardised_pca([rows], 50)
    scaled = torch.from_numpy(StandardScaler().fit_transform(rows.double().numpy())).float()
    found = projection(rows)
    assert found.shape == (400, 12)
    torch.testing.assert_close(torch.pdist(found), torch.pdist(scaled), atol=2e-3, rtol=0)


def test_variances_fall_and_are_not_made_equal() -> None:
    variance = standardised_pca([features()], 12)(features()).var(dim=0, correction=0)
    assert torch.equal(variance, variance.sort(descending=True).values)
    assert variance[0] > 3 * variance[-1]
    assert float(variance.sum()) == pytest.approx(12, rel=1e-3)


def test_channels_that_do_not_vary_become_0() -> None:
    rows = features(50, 3)
    rows[:, 1] = 1234.567
    found = standardised_pca([rows], 3)(rows)
    assert found.isfinite().all()
    assert float(found.var(dim=0, correction=0).sum()) == pytest.approx(2, rel=1e-3)
    rows[::2, 1] += 1e-4  # the last bit
    assert len(rows[:, 1].unique()) == 2  # type: ignore[no-untyped-call]
    found = standardised_pca([rows], 3)(rows)
    assert float(found.var(dim=0, correction=0).sum()) == pytest.approx(2, rel=1e-3)
    alike = torch.full((20, 4), 0.1)
    assert float(standardised_pca([alike], 2)(alike).abs().max()) < 1e-6


def test_a_far_mean_costs_no_digits() -> None:
    rows = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).double() + 1e6
    variance = standardised_pca(torch.split(rows, 10), 2)(rows).var(dim=0, correction=0)
    assert float(variance.sum()) == pytest.approx(2, abs=1e-6)


def test_shapes_of_any_sort_are_projected() -> None:
    rows = features()
    projection = standardised_pca([rows], 4)
    maps = rows.reshape(4, 100, 12)
    torch.testing.assert_close(projection(maps).reshape(400, 4), projection(rows))


@pytest.mark.bad_input
def test_without_rows_there_is_nothing() -> None:
    with pytest.raises(RangeError, match="rows must be at least one, got 0"):
        standardised_pca([], 2)
    with pytest.raises(RangeError, match="dims must be positive"):
        standardised_pca([features()], 0)
