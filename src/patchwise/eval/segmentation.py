"""From confusion matrices to a result."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.data.segmentation import SegmentationData
from patchwise.errors import DataError
from patchwise.eval.bootstrap import bootstrap
from patchwise.eval.metrics import ConfusionMatrix, iou_of_sums
from patchwise.eval.results import Fingerprint, Interval, SegmentationResult


def mean_iou(matrix: ConfusionMatrix, data: SegmentationData) -> float:
    """Return the mean IoU of the scored classes that occur in labels or predictions.

    Raises:
        DataError: None of them does.
    """
    values = matrix.iou()[list(data.scored)]
    if values.isnan().all():
        raise DataError(
            f"mean_iou: labels of {data.name!r} must show scored classes, got none of "
            f"{', '.join(data.classes[c] for c in data.scored)}"
        )
    return float(values.nanmean())


def segmentation_result(
    matrix: ConfusionMatrix,
    data: SegmentationData,
    fingerprint: Fingerprint,
    *,
    best_miou: float | None = None,
    search_recall: float | None = None,
) -> SegmentationResult:
    """Return the scores that a confusion matrix holds."""
    return SegmentationResult(
        fingerprint=fingerprint,
        miou=mean_iou(matrix, data),
        iou=_by_class(matrix.iou(), data),
        pixel_accuracy=matrix.pixel_accuracy(),
        best_miou=best_miou,
        interval=_interval([matrix], data, fingerprint.seed),
        search_recall=search_recall,
    )


def mean_of_runs(
    matrices: Sequence[ConfusionMatrix], data: SegmentationData, fingerprint: Fingerprint
) -> SegmentationResult:
    """Return the mean scores of several runs on the same images, and the mean IoU of each.

    The IoU of a class is a mean over the runs in which it occurs, in labels or predictions.
    """
    by_run = tuple(mean_iou(matrix, data) for matrix in matrices)
    number = len(matrices)
    return SegmentationResult(
        fingerprint=fingerprint,
        miou=sum(by_run) / number,
        iou=_by_class(torch.stack([matrix.iou() for matrix in matrices]).nanmean(dim=0), data),
        pixel_accuracy=sum(matrix.pixel_accuracy() for matrix in matrices) / number,
        best_miou=None,
        interval=_interval(matrices, data, fingerprint.seed),
        miou_by_run=by_run,
    )


def _by_class(values: Float[Tensor, " K"], data: SegmentationData) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else value
        for name, value in zip(data.classes, values.tolist(), strict=True)
    }


def _interval(
    matrices: Sequence[ConfusionMatrix], data: SegmentationData, seed: int
) -> Interval | None:
    """Return the interval of the mean over the runs: all runs see the same images in a draw."""
    counts = torch.stack([matrix.by_image for matrix in matrices], dim=1)  # [N, runs, 3, K]

    def miou(sums: Float[Tensor, "R C"]) -> Float[Tensor, " R"]:
        iou = iou_of_sums(sums.reshape(-1, *counts.shape[1:]))  # [R, runs, K]
        return iou[..., list(data.scored)].nanmean(dim=-1).mean(dim=-1)

    return bootstrap(counts.flatten(1), miou, seed=seed)
