"""What a self-distilling method tells about its health, from what a step has at hand anyway."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.losses.matched_distillation import TokenPairs
from patchwise.ops.statistics import effective_rank, entropy_frac, position_bias, prototype_use

_MOST_ROWS = 1024  # that a value is computed from: enough, and cheap for any D
_MOST_SCORES = 2**24  # likewise, for any K


@dataclass(frozen=True)
class Answers:
    """What some tokens say about K prototypes, and how sharply it is read."""

    vectors: Float[Tensor, "R C"]
    prototypes: Float[Tensor, "K C"]
    temperature: float
    centre: Float[Tensor, "P K"] | None = None
    position: Int[Tensor, " R"] | None = None  # row of the centre

    def scores(self, rows: Int[Tensor, " S"]) -> Float[Tensor, "S K"]:
        """Return the scores of some rows, the centre subtracted if there is one."""
        scores = self.vectors[rows] @ F.normalize(self.prototypes, dim=1).mT
        if self.centre is None or self.position is None:
            return scores
        return scores - self.centre[self.position[rows]]


@torch.no_grad()
def feature_health(
    cls: Float[Tensor, "VB D"], patches: Float[Tensor, "VB N D"]
) -> dict[str, Tensor]:
    """Return how much of their space the teacher's features fill, and how far place alone goes.

    The ranks are shares of the largest possible: of D, or of the number of rows if that is less.
    """
    return {
        "patch_rank": _rank_frac(some_rows(patches.flatten(0, 1))),
        "image_rank": _rank_frac(some_rows(cls)),
        "position_bias": position_bias(patches),
    }


@torch.no_grad()
def answer_health(teacher: Answers, student: Answers, pairs: TokenPairs) -> dict[str, Tensor]:
    """Return what the answers to matched tokens say.

    Args:
        teacher: Of the teacher's tokens.
        student: Of the student's.
        pairs: Rows of both that belong together.

    Returns:
        ``teacher_entropy`` and ``student_entropy``: means, as shares of ln K.
        ``prototype_use``: see `patchwise.ops.statistics.prototype_use`.
        ``prototype_fill``: the same number of prototypes, but as a share of the most that so many
        answers of this sharpness could use: min(K, tokens * exp(mean entropy)).
        ``agreement``: pairs in which both have the same first choice.
        ``centre_offset``: how far one prototype is ahead of the average in the tokens' mean of
        the centred scores, in teacher temperatures; 0 if the centre is right.
    """
    most = min(_MOST_ROWS, max(1, _MOST_SCORES // len(teacher.prototypes)))
    centred = teacher.scores(some_rows(torch.unique(pairs.teacher), most))
    probabilities = (centred / teacher.temperature).softmax(dim=-1)
    mean = centred.mean(dim=0)
    guesses = student.scores(some_rows(torch.unique(pairs.student), most))
    guess = (guesses / student.temperature).softmax(dim=-1)
    count, k = probabilities.shape
    entropy, use = entropy_frac(probabilities).mean(), prototype_use(probabilities)
    possible = (count * (entropy * math.log(k)).exp()).clamp(max=k)
    choice = teacher.scores(some_rows(pairs.teacher, most)).argmax(dim=-1)
    agrees = choice == student.scores(some_rows(pairs.student, most)).argmax(dim=-1)
    return {
        "teacher_entropy": entropy,
        "student_entropy": entropy_frac(guess).mean(),
        "prototype_use": use,
        "prototype_fill": (use * k / possible).clamp(max=1),
        "agreement": agrees.double().mean(),
        "centre_offset": (mean.amax() - mean.mean()) / teacher.temperature,
    }


@torch.no_grad()
def distance_frac(
    teacher: Iterable[nn.Parameter], student: Iterable[nn.Parameter]
) -> Float[Tensor, ""]:
    """Return how far the student's weights are from the teacher's: |s - t| / |t|."""
    mine = [parameter.data for parameter in teacher]
    theirs = [parameter.data for parameter in student]
    differences = torch._foreach_sub(theirs, mine)
    apart: Tensor = torch.stack(torch._foreach_norm(differences)).norm()
    own: Tensor = torch.stack(torch._foreach_norm(mine)).norm()
    return apart / own.clamp(min=torch.finfo(own.dtype).tiny)


def loss_frac(loss: Tensor, prototypes: int) -> Tensor:
    """Return the loss as a share of ln K, that of a student which says nothing."""
    return loss / math.log(max(2, prototypes))


def _rank_frac(rows: Float[Tensor, "R D"]) -> Tensor:
    return effective_rank(rows) / min(rows.shape)


def some_rows(rows: Float[Tensor, "R ..."] | Int[Tensor, " R"], most: int = _MOST_ROWS) -> Tensor:
    """Return at most ``most`` rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most, device=rows.device).long()]
