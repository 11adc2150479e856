"""Predicting, place by place, which prototypes another crop's patches were assigned to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape
from patchwise.distributed import Collectives, OneProcess
from patchwise.ops.roi_align import roi_align

_ALONE = OneProcess()


@dataclass(frozen=True)
class SharedRegion:
    """Where a teacher's and a student's crop of each image show the same place."""

    teacher: Float[Tensor, "B 4"]  # top, left, height, width in the teacher's map, in patches
    student: Float[Tensor, "B 4"]  # in the student's map; `ops.overlap.overlap_boxes` gives both
    weight: Float[Tensor, "B h w"]  # of each of h x w cells of the region


def dense_swapped_prediction_loss(
    student: Float[Tensor, "B H W K"],
    target: Float[Tensor, "B Y X K"],
    region: SharedRegion,
    *,
    student_temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Let the student's scores of a crop predict the teacher's assignments of another one.

    1. The teacher's assignments and the student's scores of the place that both crops show are
       read off on one grid of cells (`patchwise.ops.roi_align.roi_align`).
    2. loss = sum over images and cells of
              weight * - sum_k target_k * log_softmax(student / T_s)_k

    Args:
        student: Scores of the patches of one crop of each image, unmirrored.
        target: The teacher's assignments of the patches of another crop, from
            `patchwise.ops.sinkhorn.sinkhorn`. No gradient.
        region: What both show. CoTAP: 6 x 6 cells, with weights from `cell_weights`; weights of 0
            as long as the queue of scores is empty.
        student_temperature: Divisor of the student's scores; > 0.

    Returns:
        Scalar in nats, of float32 at least, under autocast too: log(K) times the sum of weights if
        the student's scores are all equal. 0 where no cell has a weight.

    Raises:
        ShapeError: The parts are not of as many images, or prototypes differ in number.
        RangeError: The temperature is not positive.

    Source: Leopart, Ziegler and Asano 2022, arXiv:2204.13101; CoTAP, Wen et al. 2025,
        arXiv:2509.09429.
    Differs: nothing known.

    >>> same = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> region = SharedRegion(same, same, torch.full((1, 2, 2), 0.25))
    >>> target = torch.eye(4).reshape(1, 2, 2, 4)
    >>> round(float(dense_swapped_prediction_loss(torch.zeros(1, 2, 2, 4), target, region)), 4)
    1.3863
    """
    name = "dense_swapped_prediction_loss"
    check_positive(name, student_temperature=student_temperature)
    check_shape(name, (None, None, None, None), student=student)
    images, prototypes = len(student), student.shape[3]
    check_shape(name, (images, None, None, prototypes), target=target)
    boxes = {"region.teacher": region.teacher, "region.student": region.student}
    check_shape(name, (images, 4), **boxes)
    check_shape(name, (images, None, None), **{"region.weight": region.weight})
    rows, columns = region.weight.shape[1:]
    predicted = roi_align(student, region.student, (rows, columns)).flatten(0, 2)
    wanted = roi_align(target.detach(), region.teacher, (rows, columns)).flatten(0, 2)
    scores = predicted / student_temperature
    each = F.cross_entropy(scores, wanted.to(scores.dtype), reduction="none")
    return (region.weight.flatten().to(each.dtype) * each).sum()


class DenseSwappedPredictionLoss(nn.Module):
    """:func:`dense_swapped_prediction_loss` with a fixed student temperature."""

    def __init__(self, student_temperature: float = 0.1) -> None:
        super().__init__()
        check_positive("DenseSwappedPredictionLoss", student_temperature=student_temperature)
        self.student_temperature = student_temperature

    def forward(
        self,
        student: Float[Tensor, "B H W K"],
        target: Float[Tensor, "B Y X K"],
        region: SharedRegion,
    ) -> Float[Tensor, ""]:
        """See :func:`dense_swapped_prediction_loss`."""
        return dense_swapped_prediction_loss(
            student, target, region, student_temperature=self.student_temperature
        )


@torch.no_grad()
def cell_weights(
    cells: Sequence[Bool[Tensor, "B h w"]], *, collectives: Collectives = _ALONE
) -> list[Float[Tensor, "B h w"]]:
    """Return the weights with which the losses of pairs of crops add up to their mean.

    It is the mean over the pairs of crops of the mean over the cells of all images.

    Args:
        cells: Those that count, a tensor each pair of crops; CoTAP: those of
            `patchwise.ops.foreground.foreground_cells` in the teacher's map.
        collectives: Those of a run of several processes: cells are counted over all, and the mean
            of the processes' losses, not their sum, is that of the whole batch.

    Returns:
        float64. A pair without cells has no weight and the others have no more for it: its loss
        counts as 0.

    >>> halves = [torch.tensor([[[True, False]]]), torch.tensor([[[True, True]]])]
    >>> [weight.flatten().tolist() for weight in cell_weights(halves)]
    [[0.5, 0.0], [0.25, 0.25]]
    """
    if not cells:
        return []
    counts = torch.stack([each.sum() for each in cells] + [cells[0].new_ones(())]).double()
    counts = collectives.sum(counts)
    share = counts[-1] / (counts[:-1].clamp(min=1) * len(cells))  # [pairs]
    return [each * part for each, part in zip(cells, share, strict=True)]
