"""From a confusion matrix to a result."""

import math

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
) -> SegmentationResult:
    """Return the scores that a confusion matrix holds."""
    values = matrix.iou().tolist()
    return SegmentationResult(
        fingerprint=fingerprint,
        miou=mean_iou(matrix, data),
        iou={
            name: None if math.isnan(value) else value
            for name, value in zip(data.classes, values, strict=True)
        },
        pixel_accuracy=matrix.pixel_accuracy(),
        best_miou=best_miou,
        interval=_interval(matrix, data, fingerprint.seed),
    )


def _interval(matrix: ConfusionMatrix, data: SegmentationData, seed: int) -> Interval | None:
    counts = matrix.by_image

    def miou(sums: Float[Tensor, "R C"]) -> Float[Tensor, " R"]:
        return iou_of_sums(sums.reshape(-1, *counts.shape[1:]))[:, list(data.scored)].nanmean(dim=1)

    return bootstrap(counts.flatten(1), miou, seed=seed)
