"""CoTAP's ranking loss as its formula reads: every pair in a matrix, gradients by autograd."""

import torch
from torch import Tensor


def plain_rank_sums(
    prediction: Tensor, target: Tensor, tau: float, surrogate: str
) -> tuple[Tensor, Tensor]:
    """Return N and P of each item."""
    x = prediction[:, None] - prediction[None, :]  # [i, j]
    gap = target[:, None] - target[None, :]
    if surrogate == "huber":
        inside = torch.where(x >= 0, (x / tau - 1) ** 2, 1 - 2 * x / tau)
        phi = torch.where(x >= tau, 0.0, inside)
    else:
        phi = (tau - x).relu() / tau
    return (gap.clamp(min=0) * phi).sum(dim=1), ((gap <= 0) & (x <= 0)).sum(dim=1)


def plain_cotap_loss(
    prediction: Tensor,
    target: Tensor,
    match: Tensor,
    *,
    tau: float = 0.5,
    surrogate: str = "huber",
) -> Tensor:
    """Return the loss at the paper's threshold and weights."""
    weight = (target + 0.2).clamp(min=0)
    weight = torch.where(match, weight, 0.1 * weight)
    misranked, agreed = plain_rank_sums(prediction, target, tau, surrogate)
    error = misranked / (agreed.double() + 1e-5)
    return (weight * error / (1 + error)).sum() / (weight.sum() + 1e-5)
