"""Similarities of pairs distilled point by point, as one distribution, or as hard positives.

Three losses over the lists that `patchwise.losses.cotap.cotap_loss` ranks, to be compared with it
where the teacher's similarities are noisy. Values are computed in float64.
"""

import torch
from jaxtyping import Bool, Float, Float64, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import (
    check_finite,
    check_positive,
    check_same_shape,
    check_within,
    check_zeros_and_ones,
)

_TINY = torch.finfo(torch.float64).tiny


def similarity_mse_loss(
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    *,
    nonmatch_weight: float = 0.1,
) -> Float[Tensor, ""]:
    """Let the student's similarities be the teacher's.

        loss = sum_i w_i (p_i - t_i)^2 / sum_i w_i,   w_i = 1, or ``nonmatch_weight`` without match

    Args:
        prediction: The student's similarities; tensors of any shape are read as one list.
        target: The teacher's similarities. No gradient.
        match: True or 1 for pairs from an image and its neighbour, False or 0 for others.
        nonmatch_weight: Weight of pairs that are not matching, in [0, 1]; that of others is 1.

    Returns:
        Scalar, in float32 for tensors in half precision; 0 if both agree, or without weight.

    Raises:
        ShapeError: The tensors differ in shape.
        RangeError: A value is not finite, ``match`` holds others than 0 and 1, or the weight
            lies outside [0, 1].

    Source: similarity-preserving distillation, Tung and Mori 2019, arXiv:1907.09682.
    Differs: the similarities are given, and not normalised row by row; pairs have weights.

    >>> zero = torch.zeros(2)
    >>> float(similarity_mse_loss(zero, zero + 2, zero < 1))
    4.0
    """
    name = "similarity_mse_loss"
    check_within(name, 0.0, 1.0, nonmatch_weight=nonmatch_weight)
    p, t, matching = read_similarities(name, prediction, target, match)
    weight = _weigh(p, matching, nonmatch_weight)
    loss = (weight * (p - t).square()).sum() / weight.sum().clamp(min=_TINY)
    return loss.to(torch.promote_types(prediction.dtype, torch.float32))


def similarity_cross_entropy_loss(
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    nonmatch_weight: float = 0.1,
) -> Float[Tensor, ""]:
    """Let the student foresee how the teacher spreads its attention over all pairs.

        loss = - sum_i q_i log_softmax(p / T_s)_i,   q_i ~ w_i exp(t_i / T_t),  sum_i q_i = 1
        w_i = 1, or ``nonmatch_weight`` without match

    Args:
        prediction: The student's similarities; tensors of any shape are read as one list.
        target: The teacher's similarities. No gradient.
        match: True or 1 for pairs from an image and its neighbour, False or 0 for others.
        student_temperature: T_s, divisor of predictions; > 0.
        teacher_temperature: T_t, divisor of targets; > 0.
        nonmatch_weight: Share of its target's mass that a pair without match keeps, in [0, 1].

    Returns:
        Scalar in nats, in float32 for tensors in half precision: log(n) if n predictions are
        equal. 0 if no pair has weight.

    Raises:
        ShapeError: The tensors differ in shape.
        RangeError: A value is not finite, ``match`` holds others than 0 and 1, a temperature is
            not positive, or the weight lies outside [0, 1].

    Source: distillation of similarities as a distribution, SEED, Fang et al. 2021,
        arXiv:2101.04731; temperatures as DINO's, Caron et al. 2021, arXiv:2104.14294.
    Differs: one distribution over all pairs, instead of one an image; the weights.

    >>> same = torch.zeros(4)
    >>> round(float(similarity_cross_entropy_loss(same, same, same < 1)), 4)  # log(4)
    1.3863
    """
    name = "similarity_cross_entropy_loss"
    check_positive(
        name, student_temperature=student_temperature, teacher_temperature=teacher_temperature
    )
    check_within(name, 0.0, 1.0, nonmatch_weight=nonmatch_weight)
    p, t, matching = read_similarities(name, prediction, target, match)
    weight = _weigh(p, matching, nonmatch_weight)
    share = (t / teacher_temperature + weight.log()).softmax(dim=0).nan_to_num()  # 0 / 0: no weight
    loss = -(share * (p / student_temperature).log_softmax(dim=0)).sum()
    return loss.to(torch.promote_types(prediction.dtype, torch.float32))


def similarity_info_nce_loss(
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    *,
    temperature: float = 0.07,
    threshold: float = 0.2,
) -> Float[Tensor, ""]:
    """Let the student tell pairs which the teacher finds similar from all others.

    A pair i is positive if it is matching and t_i > threshold, and negative if not.

        loss = mean over positive i of
               - log( exp(p_i / T) / (exp(p_i / T) + sum over negative k of exp(p_k / T)) )

    Args:
        prediction: The student's similarities; tensors of any shape are read as one list.
        target: The teacher's similarities. No gradient.
        match: True or 1 for pairs from an image and its neighbour, False or 0 for others.
        temperature: T, divisor of predictions; > 0. MoCo's, He et al. 2019, arXiv:1911.05722.
        threshold: Targets up to this one are negative. TokenCut's, Wang et al. 2022,
            arXiv:2202.11539.

    Returns:
        Scalar in nats, in float32 for tensors in half precision: log(1 + m) if all predictions
        are equal and m pairs negative. 0 without positive or without negative pairs.

    Raises:
        ShapeError: The tensors differ in shape.
        RangeError: A value is not finite, ``match`` holds others than 0 and 1, or the temperature
            is not positive.

    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4.
    Differs: who is positive is guessed from the teacher; all positives meet the same negatives,
        and not each other.

    >>> same, target = torch.zeros(4), torch.tensor([0.9, 0.1, 0.1, 0.1])
    >>> round(float(similarity_info_nce_loss(same, target, same < 1)), 4)  # log(4)
    1.3863
    """
    name = "similarity_info_nce_loss"
    check_positive(name, temperature=temperature)
    check_finite(name, threshold=threshold)
    p, t, matching = read_similarities(name, prediction, target, match)
    positive = matching & (t > threshold)
    scores = p / temperature
    against = scores[~positive].logsumexp(dim=0)
    loss = F.softplus(against - scores[positive]).sum() / positive.sum().clamp(min=1)
    return loss.to(torch.promote_types(prediction.dtype, torch.float32))


def read_similarities(
    caller: str,
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, " m"], Bool[Tensor, " m"]]:
    """Return predictions, targets without gradient, and who matches, as lists.

    Raises:
        ShapeError: The tensors differ in shape.
        RangeError: A similarity is not finite, or ``match`` holds others than 0 and 1.
    """
    check_same_shape(caller, prediction=prediction, target=target, match=match)
    check_finite(caller, prediction=prediction, target=target)
    check_zeros_and_ones(caller, match=match)
    return prediction.flatten().double(), target.detach().flatten().double(), match.flatten() == 1


def _weigh(like: Tensor, matching: Tensor, nonmatch_weight: float) -> Tensor:
    return torch.ones_like(like).masked_fill_(~matching, nonmatch_weight)


class SimilarityMSELoss(nn.Module):
    """:func:`similarity_mse_loss` with a fixed weight."""

    def __init__(self, nonmatch_weight: float = 0.1) -> None:
        super().__init__()
        check_within("SimilarityMSELoss", 0.0, 1.0, nonmatch_weight=nonmatch_weight)
        self.nonmatch_weight = nonmatch_weight

    def forward(
        self,
        prediction: Float[Tensor, "*n"],
        target: Float[Tensor, "*n"],
        match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    ) -> Float[Tensor, ""]:
        """See :func:`similarity_mse_loss`."""
        return similarity_mse_loss(prediction, target, match, nonmatch_weight=self.nonmatch_weight)


class SimilarityCrossEntropyLoss(nn.Module):
    """:func:`similarity_cross_entropy_loss` with fixed temperatures and weight."""

    def __init__(
        self,
        *,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        nonmatch_weight: float = 0.1,
    ) -> None:
        super().__init__()
        name = "SimilarityCrossEntropyLoss"
        check_positive(
            name, student_temperature=student_temperature, teacher_temperature=teacher_temperature
        )
        check_within(name, 0.0, 1.0, nonmatch_weight=nonmatch_weight)
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.nonmatch_weight = nonmatch_weight

    def forward(
        self,
        prediction: Float[Tensor, "*n"],
        target: Float[Tensor, "*n"],
        match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    ) -> Float[Tensor, ""]:
        """See :func:`similarity_cross_entropy_loss`."""
        return similarity_cross_entropy_loss(
            prediction,
            target,
            match,
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
            nonmatch_weight=self.nonmatch_weight,
        )


class SimilarityInfoNCELoss(nn.Module):
    """:func:`similarity_info_nce_loss` with fixed temperature and threshold."""

    def __init__(self, *, temperature: float = 0.07, threshold: float = 0.2) -> None:
        super().__init__()
        check_positive("SimilarityInfoNCELoss", temperature=temperature)
        check_finite("SimilarityInfoNCELoss", threshold=threshold)
        self.temperature, self.threshold = temperature, threshold

    def forward(
        self,
        prediction: Float[Tensor, "*n"],
        target: Float[Tensor, "*n"],
        match: Bool[Tensor, "*n"] | Integer[Tensor, "*n"],
    ) -> Float[Tensor, ""]:
        """See :func:`similarity_info_nce_loss`."""
        return similarity_info_nce_loss(
            prediction, target, match, temperature=self.temperature, threshold=self.threshold
        )
