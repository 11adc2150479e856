"""From counts to scores."""

from dataclasses import replace

import pytest
import torch

from patchwise.errors import DataError
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.eval.segmentation import mean_iou, segmentation_result
from tests.eval.test_results import MARK
from tests.eval.tiny import colour_data


def counted() -> ConfusionMatrix:
    """Class 0: IoU 2/3; class 1: IoU 1/2; class 2 does not occur."""
    matrix = ConfusionMatrix(3, ignored=255)
    matrix.add(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]))
    return matrix


def test_classes_that_do_not_occur_are_left_out_of_the_mean() -> None:
    result = segmentation_result(counted(), colour_data(), MARK, best_miou=0.9)
    assert result.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result.iou == {"ground": pytest.approx(2 / 3), "red": 0.5, "green": None}
    assert result.pixel_accuracy == 0.75
    assert result.best_miou == 0.9


def test_only_scored_classes_are_in_the_mean() -> None:
    data = replace(colour_data(), scored=(1, 2))
    assert mean_iou(counted(), data) == 0.5


@pytest.mark.bad_input
def test_no_scored_class_at_all_is_an_error() -> None:
    data = replace(colour_data(), scored=(2,))
    with pytest.raises(DataError, match="must show scored classes, got none of green"):
        mean_iou(counted(), data)
