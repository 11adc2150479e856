"""The confusion matrix against scikit-learn and against a loop over pixels."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score

from patchwise.errors import RangeError, ShapeError
from patchwise.eval.metrics import ConfusionMatrix


def random_case(seed: int, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(seed)
    label = draw.integers(0, classes, (3, 8, 9))
    wrong = draw.random(label.shape) < 0.4
    prediction = np.where(wrong, draw.integers(0, classes, label.shape), label)
    return torch.from_numpy(prediction), torch.from_numpy(label)


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_scikit_learn(seed: int) -> None:
    prediction, label = random_case(seed)
    matrix = ConfusionMatrix(5, ignored=255)
    for one, other in zip(prediction, label, strict=True):
        matrix.add(one, other)
    flat = label.flatten().numpy(), prediction.flatten().numpy()
    np.testing.assert_array_equal(matrix.counts, confusion_matrix(*flat, labels=range(5)))
    np.testing.assert_allclose(matrix.iou(), jaccard_score(*flat, average=None, labels=range(5)))
    assert matrix.pixel_accuracy() == pytest.approx(float((flat[0] == flat[1]).mean()))


def test_ignored_pixels_change_nothing() -> None:
    prediction, label = random_case(0)
    masked = label.clone()
    masked[0, :4] = 255
    matrix, parts = ConfusionMatrix(5, ignored=255), ConfusionMatrix(5, ignored=255)
    matrix.add(prediction, masked)
    parts.add(prediction[0, 4:], label[0, 4:])
    parts.add(prediction[1:], label[1:])
    assert torch.equal(matrix.counts, parts.counts)


def test_iou_is_of_the_data_set_and_not_a_mean_of_images() -> None:
    """Two images of 100 pixels, 3 missed in all of class 1: worked out by hand."""
    matrix = ConfusionMatrix(2, ignored=255)
    matrix.add(torch.zeros(100, dtype=torch.long), torch.tensor([0] * 97 + [1] * 3))
    matrix.add(torch.tensor([0] * 50 + [1] * 50), torch.tensor([0] * 50 + [1] * 50))
    assert matrix.iou().tolist() == pytest.approx([147 / 150, 50 / 53])


def test_a_class_that_does_not_occur_has_no_iou_and_one_only_predicted_has_0() -> None:
    matrix = ConfusionMatrix(3, ignored=255)
    matrix.add(torch.tensor([0, 1]), torch.tensor([0, 0]))
    first, second, third = matrix.iou().tolist()
    assert (first, second) == (0.5, 0.0)
    assert math.isnan(third)


def test_a_table_of_an_image_counts_like_its_pixels() -> None:
    prediction, label = random_case(2)
    pixels, tables = ConfusionMatrix(5, ignored=255), ConfusionMatrix(5, ignored=255)
    pixels.add_images(prediction, label)
    for one, other in zip(prediction, label, strict=True):
        alone = ConfusionMatrix(5, ignored=255)
        alone.add(one, other)
        tables.add_table(alone.counts)
    assert torch.equal(pixels.counts, tables.counts)
    assert torch.equal(pixels.by_image, tables.by_image)


def test_without_pixels_there_is_no_accuracy() -> None:
    assert math.isnan(ConfusionMatrix(3, ignored=255).pixel_accuracy())


@pytest.mark.bad_input
def test_what_is_no_class_is_refused() -> None:
    matrix = ConfusionMatrix(3, ignored=255)
    with pytest.raises(RangeError, match=r"prediction must lie in \[0, 3\), got .* 0 to 3"):
        matrix.add(torch.tensor([0, 3]), torch.tensor([0, 1]))
    with pytest.raises(RangeError, match=r"label must lie in \[0, 3\), got values from -1 to 0"):
        matrix.add(torch.tensor([0, 1]), torch.tensor([0, -1]))
    with pytest.raises(ShapeError, match=r"table must have shape \(3, 3\), got \(2, 3\)"):
        matrix.add_table(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="same shape"):
        matrix.add(torch.tensor([0, 1]), torch.tensor([0]))
