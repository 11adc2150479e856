"""The ranking loss of CoTAP: average precision for continuous targets, in O(n log n)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from patchwise.checks import check_choice, check_finite, check_positive, check_within
from patchwise.configs.cotap import Surrogate
from patchwise.losses.similarity_distillation import read_similarities
from patchwise.ops.dominance import dominance_counts, dominance_sums

_LEAST = 1e-5  # added to what is divided by, as in the paper


def cotap_loss(  # noqa: PLR0913
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    *,
    tau: float = 0.5,
    threshold: float = -0.2,
    nonmatch_weight: float = 0.1,
    surrogate: Surrogate = "huber",
) -> Float[Tensor, ""]:
    """Let the student rank pairs of patches as the teacher ranks them.

    With predictions p, targets t, and w_i = max(t_i - threshold, 0), times ``nonmatch_weight``
    where i is not matching:

        N_i = sum over j of  max(t_i - t_j, 0) * phi(p_i - p_j)
        P_i = number of j with t_j >= t_i and p_j >= p_i
        L_i = N_i / (P_i + 1e-5)
        loss = sum_i w_i * L_i / (1 + L_i) / (sum_i w_i + 1e-5)

        huber:  phi(x) = max(1 - x / tau, 0)^2 - max(-x / tau, 0)^2
        hinge:  phi(x) = max(1 - x / tau, 0)

    N_i says how much is ranked above i that should not be; phi of huber is a parabola between
    0 and tau, 0 above and a line below. The gradient flows through N alone. It is exact, in
    O(n log n) time and O(n) memory, and computed in float64. Predictions are meant to be bounded:
    where they differ by up to d tau, N of huber is a difference of numbers d / 2 times as large.

    Args:
        prediction: The student's similarities; tensors of any shape are read as one list.
        target: The teacher's similarities. No gradient.
        match: True or 1 for pairs from an image and its neighbour, False or 0 for others.
        tau: How far above what it should outrank a prediction must be for no loss; > 0.
        threshold: Targets up to this one have no weight.
        nonmatch_weight: Weight of pairs that are not matching, in [0, 1]; that of others is 1.
        surrogate: The shape of phi.

    Returns:
        Scalar in [0, 1), in float32 for tensors in half precision. 0 without pairs, if all
        weights are 0, if all targets are equal, or if each prediction is tau above those of
        lower targets. 3/7 for two equal predictions of targets 1 and 0.

    Raises:
        ShapeError: The tensors differ in shape.
        RangeError: A value is not finite, ``match`` holds others than 0 and 1, ``tau`` is not
            positive, or ``nonmatch_weight`` outside [0, 1].
        ChoiceError: There is no such surrogate.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429.
    Differs: all pairs i, j are not looked at one by one (`patchwise.ops.dominance`); the authors'
        code does, which takes O(n^2) memory.

    >>> target = torch.tensor([0.8, 0.1])
    >>> prediction = torch.tensor([0.6, 0.1])
    >>> match = torch.tensor([True, True])
    >>> float(cotap_loss(prediction, target, match))
    0.0
    >>> float(cotap_loss(-prediction, target, match)) > 0.4
    True
    """
    name = "cotap_loss"
    _check_options(name, tau, threshold, nonmatch_weight, surrogate)
    p, t, matching = read_similarities(name, prediction, target, match)
    misranked, agreed = rank_sums(p, t, tau=tau, surrogate=surrogate)
    weight = (t - threshold).clamp(min=0)
    weight = torch.where(matching, weight, nonmatch_weight * weight)
    error = misranked / (agreed.double() + _LEAST)
    loss = (weight * error / (1 + error)).sum() / (weight.sum() + _LEAST)
    return loss.to(torch.promote_types(prediction.dtype, torch.float32))


class CoTAPLoss(nn.Module):
    """:func:`cotap_loss` with fixed options."""

    def __init__(
        self,
        *,
        tau: float = 0.5,
        threshold: float = -0.2,
        nonmatch_weight: float = 0.1,
        surrogate: Surrogate = "huber",
    ) -> None:
        super().__init__()
        _check_options("CoTAPLoss", tau, threshold, nonmatch_weight, surrogate)
        self.tau, self.threshold, self.nonmatch_weight = tau, threshold, nonmatch_weight
        self.surrogate: Surrogate = surrogate

    def forward(
        self,
        prediction: Float[Tensor, "*n"],
        target: Float[Tensor, "*n"],
        match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    ) -> Float[Tensor, ""]:
        """See :func:`cotap_loss`."""
        return cotap_loss(
            prediction,
            target,
            match,
            tau=self.tau,
            threshold=self.threshold,
            nonmatch_weight=self.nonmatch_weight,
            surrogate=self.surrogate,
        )


def rank_sums(
    prediction: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    *,
    tau: float = 0.5,
    surrogate: Surrogate = "huber",
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """Return N and P of :func:`cotap_loss` for each pair; N has a gradient, by ``prediction``.

    Args:
        prediction: Finite, as ``target``; float64 is advised.
        target: Of the same type.
        tau: See :func:`cotap_loss`, as for ``surrogate``.
        surrogate: The shape of phi.

    >>> n, p = rank_sums(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), tau=1.0)
    >>> n.tolist(), p.tolist()  # phi(-1) = 3
    ([3.0, 0.0], [1, 1])
    """
    _check_phi("rank_sums", tau, surrogate)
    shape = _SHAPES[surrogate]
    misranked: Tensor = _Misranked.apply(prediction / tau, target.detach(), shape)  # type: ignore[no-untyped-call]
    return misranked, dominance_counts(target.detach(), prediction.detach())


def _check_options(
    caller: str, tau: float, threshold: float, nonmatch_weight: float, surrogate: str
) -> None:
    _check_phi(caller, tau, surrogate)
    check_finite(caller, threshold=threshold)
    check_within(caller, 0.0, 1.0, nonmatch_weight=nonmatch_weight)


def _check_phi(caller: str, tau: float, surrogate: str) -> None:
    check_positive(caller, tau=tau)
    check_choice(caller, _SHAPES, surrogate=surrogate)


class _Shape(NamedTuple):
    """phi(x) = at_tau * max(1 - x / tau, 0)^power + at_zero * max(-x / tau, 0)^power."""

    power: int
    at_zero: float
    at_tau: float


_SHAPES = {"huber": _Shape(2, -1.0, 1.0), "hinge": _Shape(1, 0.0, 1.0)}


class _Misranked(torch.autograd.Function):
    """N of predictions that tau has divided already.

    As phi is made of powers of max(u_j - (u_i - c), 0), with c = 0 and 1, N is a sum over the
    items that have a smaller target and a prediction above u_i - c; its gradient is made of the
    same with a power less. An item is one of the predictions u, or one of u - 1, in this order.
    """

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, shape: _Shape) -> Tensor:  # noqa: ANN401
        power, at_zero, at_tau = shape
        weight = torch.ones_like(prediction)
        less, full = dominance_sums(
            target.repeat(2),
            torch.cat([prediction, prediction - 1]),
            torch.cat([weight, torch.zeros_like(weight)]),
            powers=(power - 1, power),
        ).view(2, 2, -1)  # [power, item's kind, n]
        ctx.save_for_backward(prediction, target, power * (at_zero * less[0] + at_tau * less[1]))
        ctx.shape = shape
        misranked: Tensor = at_zero * full[0] + at_tau * full[1]
        return misranked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """Return what a prediction does for its own N, and for that of greater targets."""
        prediction, target, slope = ctx.saved_tensors
        power, at_zero, at_tau = ctx.shape
        (of_others,) = dominance_sums(
            -target.repeat(2),
            torch.cat([-prediction, 1 - prediction]),
            torch.cat([at_zero * gradient, at_tau * gradient]),
            powers=(power - 1,),
        )
        return power * of_others[: len(target)] - gradient * slope, None, None
