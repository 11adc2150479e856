"""How much two views of the same things have in common."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_positive, check_same_shape
from patchwise.errors import ShapeError


@torch.no_grad()
def shared_dimensions(
    first: Float[Tensor, "N D"],
    second: Float[Tensor, "N D"],
    *,
    ridge: Float[Tensor, ""] | float,
) -> Float[Tensor, ""]:
    """Return in how many directions of their space two views agree on which row is which.

        sum over k of rho_k^2,  rho = positive eigenvalues of  C^(-1/2) X C^(-1/2)
        C = (A'A + B'B) / 2N + ridge * I,  X = (A'B + B'A) / 2N

    These are canonical correlations, with one projection for both views. What is linear and
    invertible does not change them, but for the ridge, as it does not change what a linear layer
    can read. It is computed in float64.

    Args:
        first: What one view says of each thing, a row each, with mean 0.
        second: What the other says; the same row, the same thing.
        ridge: Variance that counts as none.

    Returns:
        In [0, D): 0 if the views have nothing in common. Rows that are drawn at random have about
        D^2 / 4N by chance.

    Raises:
        ShapeError: The views have no rows, or differ in shape.
        RangeError: The ridge is not positive.

    Source: the sum of squared canonical correlations, Hotelling 1936, "Relations between two sets
        of variates".
    Differs: one projection for both views, which are drawn alike; the ridge.

    >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(float(shared_dimensions(rows, rows, ridge=1e-9)), 6)
    2.0
    """
    check_same_shape("shared_dimensions", first=first, second=second)
    check_positive("shared_dimensions", ridge=float(ridge))
    if first.ndim != 2 or first.numel() == 0:
        raise ShapeError(
            f"shared_dimensions: first must be rows of features, got {tuple(first.shape)}"
        )
    a, b = first.double(), second.double()
    own = (a.mT @ a + b.mT @ b) / (2 * len(a))
    cross = (a.mT @ b) / len(a)
    own.diagonal().add_(ridge)
    values, vectors = torch.linalg.eigh(own)
    whiten = vectors * values.clamp(min=float(ridge)).rsqrt()
    correlations = torch.linalg.eigvalsh(whiten.mT @ (cross + cross.mT) @ whiten / 2)
    total: Tensor = correlations.clamp(0, 1).square().sum()
    return total
