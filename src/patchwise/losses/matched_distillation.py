"""Cross-entropy between matched tokens of teacher and student."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from patchwise.checks import check_positive, check_same_shape
from patchwise.errors import RangeError, ShapeError


@dataclass(frozen=True)
class TokenPairs:
    """Which teacher token goes with which student token, and how much the pair counts."""

    teacher: Int[Tensor, " P"]  # row of the teacher's scores
    student: Int[Tensor, " P"]  # row of the student's scores
    weight: Float[Tensor, " P"]


def matched_distillation_loss(
    student: Float[Tensor, "S K"],
    teacher: Float[Tensor, "T K"],
    pairs: TokenPairs,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Float[Tensor, ""]:
    """Let each student token predict its teacher token's distribution over prototypes.

        loss = sum over pairs of  weight * - sum_k softmax(t_k / T_t) * log_softmax(s_k / T_s)

    Args:
        student: Prototype scores of the student's tokens, one row a token.
        teacher: Scores of the teacher's tokens with the centre subtracted. No gradient.
        pairs: Rows that show the same place. Weights that sum to 1 make the loss a mean.
        student_temperature: Divisor of the student's scores; > 0.
        teacher_temperature: Divisor of the teacher's scores; > 0. Lower is sharper.

    Returns:
        Scalar in nats: the sum of weights times log(K) if the student's scores are all equal.
        0 without pairs.

    Raises:
        ShapeError: Scores differ in K, or the pairs' three parts differ in length.
        RangeError: A temperature is not positive, or a pair names a row that is not there.

    Source: PW-Self, Javidani et al. 2024, arXiv:2310.18651; DINO, Caron et al. 2021,
        arXiv:2104.14294, equation 1, where the only matched token is CLS.
    Differs: the mean over views, images and tokens is left to the weights.

    >>> import torch
    >>> scores = torch.zeros(2, 4)
    >>> pairs = TokenPairs(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    >>> round(float(matched_distillation_loss(scores, scores, pairs)), 4)  # log(4)
    1.3863
    """
    name = "matched_distillation_loss"
    check_positive(
        name, student_temperature=student_temperature, teacher_temperature=teacher_temperature
    )
    if student.ndim != 2 or teacher.ndim != 2 or student.shape[1] != teacher.shape[1]:
        raise ShapeError(
            f"{name}: student and teacher must be tokens x K with one K, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    check_same_shape(name, teacher=pairs.teacher, student=pairs.student, weight=pairs.weight)
    _check_rows(name, "student", pairs.student, len(student))
    _check_rows(name, "teacher", pairs.teacher, len(teacher))

    log_prediction = (student / student_temperature).log_softmax(dim=-1)
    target = (teacher.detach() / teacher_temperature).softmax(dim=-1)
    cross_entropy = -(target[pairs.teacher] * log_prediction[pairs.student]).sum(dim=-1)  # [P]
    return (pairs.weight * cross_entropy).sum()


class MatchedDistillationLoss(nn.Module):
    """:func:`matched_distillation_loss` with a fixed student temperature."""

    def __init__(self, student_temperature: float = 0.1) -> None:
        super().__init__()
        check_positive("MatchedDistillationLoss", student_temperature=student_temperature)
        self.student_temperature = student_temperature

    def forward(
        self,
        student: Float[Tensor, "S K"],
        teacher: Float[Tensor, "T K"],
        pairs: TokenPairs,
        *,
        teacher_temperature: float,
    ) -> Float[Tensor, ""]:
        """See :func:`matched_distillation_loss`; the teacher's temperature follows a schedule."""
        return matched_distillation_loss(
            student,
            teacher,
            pairs,
            student_temperature=self.student_temperature,
            teacher_temperature=teacher_temperature,
        )


def _check_rows(caller: str, argument: str, rows: Tensor, count: int) -> None:
    if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < count):
        raise RangeError(
            f"{caller}: pairs.{argument} must lie in [0, {count}), "
            f"got values from {int(rows.min())} to {int(rows.max())}"
        )
