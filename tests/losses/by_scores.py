"""The distillation loss of scores: the case of one prototype a channel."""

import torch
from torch import Tensor

from patchwise.losses.matched_distillation import TokenPairs, matched_distillation_loss
from patchwise.ops.prototypes import expected_prototypes


def distil(
    student: Tensor,
    teacher: Tensor,
    pairs: TokenPairs,
    *,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """The loss of a student's scores [S, K], given the teacher's centred scores [T, K]."""
    k = teacher.shape[1]
    target = expected_prototypes(
        teacher,
        torch.eye(k, dtype=teacher.dtype),
        torch.eye(k, dtype=teacher.dtype),
        temperature=teacher_temperature,
        centre=torch.zeros(1, k, dtype=target_dtype(teacher)),
        position=torch.zeros(len(teacher), dtype=torch.int64),
    )
    prototypes = torch.eye(k, dtype=student.dtype)
    return matched_distillation_loss(
        student, prototypes, target, pairs, student_temperature=student_temperature
    )


def target_dtype(teacher: Tensor) -> torch.dtype:
    """What half-precision scores are worked on in."""
    return torch.promote_types(teacher.dtype, torch.float32)
