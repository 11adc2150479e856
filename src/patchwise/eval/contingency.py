"""Clusters against true classes: pixels counted in one pass, and which class a cluster stands for.

Letters: K clusters, C classes.
"""

from array import array

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from patchwise.checks import check_positive, check_same_shape
from patchwise.errors import RangeError, ShapeError
from patchwise.eval.metrics import ConfusionMatrix


class Contingency:
    """Counts pixels by cluster and true class, and remembers what each image adds.

    One pass over the pixels whatever K and C are: each pixel adds one to the counter of its pair.
    Of an image only the pairs that occur in it are kept.

    >>> table = Contingency(3, 2, ignored=255)
    >>> table.add_images(torch.tensor([[[0, 0, 1, 2]]]), torch.tensor([[[0, 1, 1, 255]]]))
    >>> table.counts  # rows: cluster
    tensor([[1, 1],
            [0, 1],
            [0, 0]])
    """

    def __init__(self, clusters: int, classes: int, *, ignored: int) -> None:
        check_positive("Contingency", clusters=clusters, classes=classes)
        self.clusters, self.classes, self.ignored = clusters, classes, ignored
        self.counts: Int[Tensor, "K C"] = torch.zeros(clusters, classes, dtype=torch.int64)
        # Of all images in turn: pairs that occur, their counts, and how many there are. Arrays,
        # as many small tensors between large ones would keep the memory of these from the system.
        self._cells, self._pixels, self._lengths = array("q"), array("q"), array("q")

    def add_images(
        self, clusters: Integer[Tensor, "B H W"], labels: Integer[Tensor, "B H W"]
    ) -> None:
        """Count the pixels of whole images.

        Args:
            clusters: Cluster of each pixel in [0, K).
            labels: True class of each pixel in [0, C), or ``ignored``.

        Raises:
            ShapeError: There is not one label a pixel.
            RangeError: A value is no cluster or no class.
        """
        name = "Contingency.add_images"
        check_same_shape(name, clusters=clusters, labels=labels)
        for cluster, label in zip(clusters.cpu(), labels.cpu(), strict=True):
            kept = label != self.ignored
            pair = cluster[kept].long(), label[kept].long()
            _check(name, self.clusters, clusters=pair[0])
            _check(name, self.classes, labels=pair[1])
            size = self.clusters * self.classes
            counts = torch.bincount(pair[0] * self.classes + pair[1], minlength=size)
            self.counts += counts.reshape(self.clusters, self.classes)
            cells = counts.nonzero()[:, 0]
            self._cells.frombytes(cells.numpy().tobytes())
            self._pixels.frombytes(counts[cells].numpy().tobytes())
            self._lengths.append(len(cells))

    def matched(self, classes_of: Int[Tensor, " K"]) -> ConfusionMatrix:
        """Return the confusion matrix, image by image, if each cluster predicts its class."""
        matrix = ConfusionMatrix(self.classes, ignored=self.ignored)
        lengths = self._lengths.tolist()
        arrays = (np.array(values) for values in (self._cells, self._pixels))
        parts = (torch.split(torch.from_numpy(values), lengths) for values in arrays)
        for cells, pixels in zip(*parts, strict=True):
            predicted = classes_of[cells // self.classes]
            table = torch.zeros(self.classes**2, dtype=torch.int64)
            table.index_add_(0, cells % self.classes * self.classes + predicted, pixels)
            matrix.add_table(table.reshape(self.classes, self.classes))
        return matrix


def majority_classes(counts: Int[Tensor, "K C"]) -> Int[Tensor, " K"]:
    """Return the class that most pixels of each cluster have: many to one, by precision.

    Ties, and clusters without a pixel that counts, go to the first class.

    Source: Leopart, Ziegler and Asano 2022, arXiv:2204.13101, and its published evaluation.
    """
    return counts.argmax(dim=1)


def paired_by_iou(counts: Int[Tensor, "K K"]) -> Int[Tensor, " K"]:
    """Return a class for each cluster, no class twice, of the highest sum of IoU: Hungarian.

    Source: Leopart, Ziegler and Asano 2022, arXiv:2204.13101, and its published evaluation.
    """
    union = counts.sum(dim=0) + counts.sum(dim=1, keepdim=True) - counts
    return _paired("paired_by_iou", counts.double() / union.clamp(min=1))


def paired_by_pixels(counts: Int[Tensor, "K K"]) -> Int[Tensor, " K"]:
    """Return a class for each cluster, no class twice, with the most pixels right: Hungarian.

    Source: STEGO, Hamilton et al. 2022, arXiv:2203.08414, and its published evaluation.
    """
    return _paired("paired_by_pixels", counts.double())


def _paired(name: str, gain: Float[Tensor, "K C"]) -> Int[Tensor, " K"]:
    """Return the pairing of rows with columns that gains most."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - slow, and rarely needed

    if gain.shape[0] != gain.shape[1]:
        raise ShapeError(
            f"{name}: counts must have as many clusters as classes, "
            f"got {gain.shape[0]} x {gain.shape[1]}"
        )
    _, columns = linear_sum_assignment(gain.numpy(), maximize=True)
    return torch.from_numpy(columns).long()


def _check(name: str, most: int, **values: Tensor) -> None:
    for argument, found in values.items():
        if len(found) and not (int(found.min()) >= 0 and int(found.max()) < most):
            raise RangeError(
                f"{name}: {argument} must lie in [0, {most}), "
                f"got values from {int(found.min())} to {int(found.max())}"
            )
