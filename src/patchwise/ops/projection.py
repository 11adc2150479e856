"""Channels of equal variance and their main directions, of more rows than memory would hold."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_positive
from patchwise.errors import RangeError

_ROUNDING = 1e-6  # a channel that varies by less than this share of its mean does not vary


@dataclass(frozen=True)
class Projection:
    """Takes rows to a few channels: first a shift, then a linear map."""

    centre: Float[Tensor, " D"]
    directions: Float[Tensor, "D P"]

    def __call__(self, rows: Float[Tensor, "*M D"]) -> Float[Tensor, "*M P"]:
        """Project rows, in their own precision and on their own device."""
        return (rows - self.centre.to(rows)) @ self.directions.to(rows)


def standardised_pca(batches: Iterable[Float[Tensor, "_ D"]], dims: int) -> Projection:
    """Return what standardises every channel (z-score) and keeps the directions of most variance.

    The rows pass once: sums and sums of products are kept in float64, D x D numbers, from which
    mean, deviations and correlations follow. Channels are scaled to variance 1; a channel that does
    not vary is only shifted to 0. Directions are not scaled to equal variance (no whitening).

    Args:
        batches: Rows, at least one.
        dims: Directions to keep, P; all D if they are not more.

    Raises:
        RangeError: There is no row.
    """
    check_positive("standardised_pca", dims=dims)
    moments = _Moments()
    for rows in batches:
        moments.add(rows)
    mean, covariance = moments.result()
    deviation = covariance.diagonal().clamp(min=0).sqrt()
    constant = deviation <= _ROUNDING * mean.abs()
    scale = torch.where(constant, 0, 1 / torch.where(constant, 1, deviation))
    correlation = scale[:, None] * covariance * scale
    _, vectors = torch.linalg.eigh(correlation)  # ascending
    kept = vectors.flip(1)[:, :dims]
    return Projection(mean.float(), (scale[:, None] * kept).float())


class _Moments:
    """Sums of rows and of their products, relative to the first row: that keeps digits."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._count = 0

    def add(self, rows: Float[Tensor, "M D"]) -> None:
        rows = rows.double()
        if self._first is None:
            self._first = rows[0]
            self._sum = torch.zeros_like(rows[0])
            self._products = rows.new_zeros(rows.shape[1], rows.shape[1])
        shifted = rows - self._first
        self._count += len(rows)
        self._sum += shifted.sum(dim=0)
        self._products += shifted.mT @ shifted

    def result(self) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
        """Return mean and covariance."""
        if self._first is None:
            raise RangeError(f"standardised_pca: rows must be at least one, got {self._count}")
        offset = self._sum / self._count
        covariance = self._products / self._count - offset[:, None] * offset
        return self._first + offset, covariance
