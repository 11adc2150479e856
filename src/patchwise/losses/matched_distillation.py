"""Cross-entropy between matched tokens of teacher and student."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchwise.checks import check_positive, check_same_shape, check_shape
from patchwise.errors import RangeError
from patchwise.ops.prototypes import log_partition


@dataclass(frozen=True)
class TokenPairs:
    """Which teacher token goes with which student token, and how much the pair counts."""

    teacher: Int[Tensor, " P"]  # row of the teacher's tokens
    student: Int[Tensor, " P"]  # row of the student's tokens
    weight: Float[Tensor, " P"]

    def to(self, device: torch.device) -> "TokenPairs":
        """Return the pairs on ``device``."""
        moved = (part.to(device, non_blocking=True) for part in self._parts)
        return TokenPairs(*moved)

    def select(self, chosen: Tensor) -> "TokenPairs":
        """Return some of the pairs, by places or by a mask."""
        return TokenPairs(*(part[chosen] for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.teacher, self.student, self.weight


def matched_distillation_loss(
    student: Float[Tensor, "S C"],
    prototypes: Float[Tensor, "K C"],
    target: Float[Tensor, "T C"],
    pairs: TokenPairs,
    *,
    student_temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Let each student token predict its teacher token's distribution over prototypes.

    With scores s_k = s . w_k of a student's token s, w_k being the k-th prototype divided by its
    length, and a teacher's distribution q:

        loss = sum over pairs of  weight * - sum_k q_k * log_softmax(s_k / T_s)
             = sum over pairs of  weight * (log sum_k exp(s_k / T_s) - s . (sum_k q_k w_k) / T_s)

    The second form is what is computed: of q only the expected prototype is needed, and nothing
    of the size tokens x K is held.

    Args:
        student: The student's tokens, one row each.
        prototypes: The student's, of any length. The identity, if ``student`` holds scores.
        target: sum_k q_k w_k of each teacher's token, from
            `patchwise.ops.prototypes.expected_prototypes` averaging the same ``prototypes``.
        pairs: Rows that show the same place. Weights that sum to 1 make the loss a mean.
        student_temperature: Divisor of the student's scores; > 0.

    Returns:
        Scalar in nats: the sum of weights times log(K) if the student's scores are all equal.
        0 without pairs.

    Raises:
        ShapeError: Numbers of channels differ, or the pairs' three parts differ in length.
        RangeError: The temperature is not positive, or a pair names a row that is not there (on
            a GPU, which is not waited for, that is an error of the device).

    Source: PW-Self, Javidani et al. 2024, arXiv:2310.18651; DINO, Caron et al. 2021,
        arXiv:2104.14294, equation 1, where the only matched token is CLS.
    Differs: the mean over views, images and tokens is left to the weights.

    >>> scores, target = torch.zeros(2, 4), torch.full((2, 4), 0.25)
    >>> pairs = TokenPairs(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    >>> round(float(matched_distillation_loss(scores, torch.eye(4), target, pairs)), 4)  # log(4)
    1.3863
    """
    name = "matched_distillation_loss"
    check_positive(name, student_temperature=student_temperature)
    check_shape(name, (None, None), student=student)
    channels = student.shape[1]
    check_shape(name, (None, channels), prototypes=prototypes, target=target)
    check_same_shape(name, teacher=pairs.teacher, student=pairs.student, weight=pairs.weight)
    _check_rows(name, "student", pairs.student, len(student))
    _check_rows(name, "teacher", pairs.teacher, len(target))

    normaliser = log_partition(student, prototypes, temperature=student_temperature)  # [S]
    agreement = (student[pairs.student] * target[pairs.teacher]).sum(dim=-1)  # [P]
    each = normaliser[pairs.student] - agreement / student_temperature
    return (pairs.weight * each).sum()


class MatchedDistillationLoss(nn.Module):
    """:func:`matched_distillation_loss` with a fixed student temperature."""

    def __init__(self, student_temperature: float = 0.1) -> None:
        super().__init__()
        check_positive("MatchedDistillationLoss", student_temperature=student_temperature)
        self.student_temperature = student_temperature

    def forward(
        self,
        student: Float[Tensor, "S C"],
        prototypes: Float[Tensor, "K C"],
        target: Float[Tensor, "T C"],
        pairs: TokenPairs,
    ) -> Float[Tensor, ""]:
        """See :func:`matched_distillation_loss`."""
        return matched_distillation_loss(
            student, prototypes, target, pairs, student_temperature=self.student_temperature
        )


def _check_rows(caller: str, argument: str, rows: Tensor, count: int) -> None:
    if rows.is_cpu and len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < count):
        raise RangeError(
            f"{caller}: pairs.{argument} must lie in [0, {count}), "
            f"got values from {int(rows.min())} to {int(rows.max())}"
        )
