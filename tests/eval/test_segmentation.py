"""From counts to scores."""

from dataclasses import replace

import pytest
import torch

from patchwise.errors import DataError
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.eval.segmentation import mean_iou, mean_of_runs, segmentation_result
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


def by_images(seed: int) -> ConfusionMatrix:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (9, 5, 5), generator=torch.Generator().manual_seed(9))
    wrong = torch.rand(labels.shape, generator=draw) < 0.1 + 0.2 * seed
    matrix = ConfusionMatrix(3, ignored=255)
    matrix.add_images(torch.where(wrong, 1 - labels, labels), labels)
    return matrix


def test_runs_are_averaged_and_each_is_told() -> None:
    runs = [by_images(seed) for seed in range(3)]
    alone = [segmentation_result(run, colour_data(), MARK) for run in runs]
    result = mean_of_runs(runs, colour_data(), MARK)
    assert result.miou_by_run == tuple(one.miou for one in alone)
    assert result.miou == pytest.approx(sum(one.miou for one in alone) / 3)
    assert result.iou["red"] == pytest.approx(sum(one.iou["red"] or 0 for one in alone) / 3)
    assert result.iou["green"] is None
    assert result.pixel_accuracy == pytest.approx(sum(one.pixel_accuracy for one in alone) / 3)


def test_a_class_is_averaged_over_the_runs_in_which_it_occurs() -> None:
    predicted = ConfusionMatrix(3, ignored=255)
    predicted.add(torch.tensor([0, 0, 2, 1]), torch.tensor([0, 0, 1, 1]))
    result = mean_of_runs([counted(), predicted], colour_data(), MARK)
    assert result.iou == {"ground": pytest.approx((2 / 3 + 1) / 2), "red": 0.5, "green": 0.0}


def test_the_interval_of_runs_is_that_of_their_mean() -> None:
    runs = [by_images(seed) for seed in range(3)]
    same = mean_of_runs([runs[1], runs[1]], colour_data(), MARK).interval
    alone = [segmentation_result(run, colour_data(), MARK).interval for run in runs]
    mean = mean_of_runs(runs, colour_data(), MARK)
    assert same is not None
    assert alone[1] is not None
    assert (same.low, same.high) == pytest.approx((alone[1].low, alone[1].high))
    assert mean.interval is not None
    assert mean.interval.low < mean.miou < mean.interval.high
    width = [one.high - one.low for one in alone if one is not None]
    assert mean.interval.high - mean.interval.low < max(width)


@pytest.mark.bad_input
def test_no_scored_class_at_all_is_an_error() -> None:
    data = replace(colour_data(), scored=(2,))
    with pytest.raises(DataError, match="must show scored classes, got none of green"):
        mean_iou(counted(), data)
