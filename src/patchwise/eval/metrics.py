"""Scores of segmentations, from one confusion matrix over a whole data set."""

from array import array

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from patchwise.checks import check_positive, check_same_shape, check_shape
from patchwise.errors import RangeError


class ConfusionMatrix:
    """Counts pixels by true and predicted class.

    >>> matrix = ConfusionMatrix(2, ignored=255)
    >>> matrix.add(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 255]))
    >>> matrix.counts  # rows: true class
    tensor([[1, 0],
            [1, 1]])
    >>> matrix.iou()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    def __init__(self, classes: int, *, ignored: int) -> None:
        check_positive("ConfusionMatrix", classes=classes)
        self.classes, self.ignored = classes, ignored
        self.counts: Int[Tensor, "K K"] = torch.zeros(classes, classes, dtype=torch.int64)
        # Of all images in turn. An array, as many small tensors between large ones would keep the
        # memory of these from the system.
        self._by_image = array("q")

    def add(self, prediction: Integer[Tensor, "*shape"], label: Integer[Tensor, "*shape"]) -> None:
        """Count some pixels.

        Args:
            prediction: Class of each pixel.
            label: True class of each pixel, or ``ignored``.

        Raises:
            ShapeError: There is not one label a prediction.
            RangeError: A prediction or a label is no class.
        """
        name = "ConfusionMatrix.add"
        check_same_shape(name, prediction=prediction, label=label)
        kept = label != self.ignored
        pairs = {"prediction": prediction[kept].long(), "label": label[kept].long()}
        for argument, values in pairs.items():
            if len(values) and not (int(values.min()) >= 0 and int(values.max()) < self.classes):
                raise RangeError(
                    f"{name}: {argument} must lie in [0, {self.classes}), "
                    f"got values from {int(values.min())} to {int(values.max())}"
                )
        cell = pairs["label"] * self.classes + pairs["prediction"]
        counts = torch.bincount(cell, minlength=self.classes**2)
        self.counts += counts.reshape(self.classes, self.classes).cpu()

    def add_images(
        self, predictions: Integer[Tensor, "B H W"], labels: Integer[Tensor, "B H W"]
    ) -> None:
        """Count the pixels of whole images, and remember what each image adds; see `add`."""
        check_same_shape("ConfusionMatrix.add_images", predictions=predictions, labels=labels)
        for prediction, label in zip(predictions, labels, strict=True):
            before = _sums(self.counts)
            self.add(prediction, label)
            self._remember(_sums(self.counts) - before)

    def add_table(self, table: Int[Tensor, "K K"]) -> None:
        """Count a whole image whose pixels are counted already; rows: true class."""
        check_shape("ConfusionMatrix.add_table", (self.classes, self.classes), table=table)
        self.counts += table
        self._remember(_sums(table))

    @property
    def by_image(self) -> Int[Tensor, "N 3 K"]:
        """Hits, predictions and labels of each class in each image; see `iou_of_sums`."""
        values = np.array(self._by_image, dtype=np.int64)
        return torch.from_numpy(values.reshape(-1, 3, self.classes))

    def _remember(self, sums: Int[Tensor, "3 K"]) -> None:
        self._by_image.frombytes(sums.numpy().tobytes())

    def iou(self) -> Float[Tensor, " K"]:
        """Return intersection over union of each class; NaN: neither in labels nor predicted."""
        return iou_of_sums(_sums(self.counts))

    def pixel_accuracy(self) -> float:
        """Return the share of pixels whose class is right; NaN without pixels."""
        return float(self.counts.diagonal().sum().double() / self.counts.sum())


def iou_of_sums(
    sums: Int[Tensor, "*draws 3 K"] | Float[Tensor, "*draws 3 K"],
) -> Float[Tensor, "*draws K"]:
    """Return intersection over union from hits, predictions and labels of each class.

    NaN: a class neither in labels nor predicted.

    >>> iou_of_sums(torch.tensor([[1, 0], [2, 0], [2, 0]]))
    tensor([0.3333,    nan], dtype=torch.float64)
    """
    hits, predicted, labelled = sums.double().unbind(dim=-2)
    return hits / (predicted + labelled - hits)


def _sums(counts: Int[Tensor, "K K"]) -> Int[Tensor, "3 K"]:
    return torch.stack([counts.diagonal(), counts.sum(dim=0), counts.sum(dim=1)])
