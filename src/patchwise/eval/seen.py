"""What a model sees of test images, kept in memory as far as it fits, and how heads are scored.

Letters: B images, h w rows and columns of patches, D channels, K classes, H W pixels of labels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData
from patchwise.eval.metrics import ConfusionMatrix

_HELD = 2**24  # enlarged scores that are held at a time


class Seen(NamedTuple):
    """Features of test images, or of windows of one, and the images' labels, on the CPU."""

    features: Float[Tensor, "B h w D"]
    labels: list[UInt8[Tensor, "_ _"]]

    @property
    def bytes(self) -> int:
        """What it takes to keep them."""
        return self.features.nbytes + sum(label.nbytes for label in self.labels)


class SeenImages:
    """The test images: kept as far as they fit into memory, seen again where they do not.

    Either way they come in the same batches, so that no score depends on the memory.
    """

    def __init__(
        self, see: Callable[[Sequence[int]], Iterator[Seen]], count: int, *, most_bytes: int
    ) -> None:
        self._see, self._count, self._left = see, count, most_bytes
        self._kept: list[Seen] = []

    def __iter__(self) -> Iterator[Seen]:
        yield from self._kept
        first = sum(len(seen.labels) for seen in self._kept)
        if first == self._count:
            return
        for seen in self._see(range(first, self._count)):
            self._left -= seen.bytes  # once below 0, nothing more is kept
            if self._left >= 0:
                self._kept.append(seen)
            yield seen


def best_classes(maps: Float[Tensor, "K h w"], size: Sequence[int]) -> Int[Tensor, "H W"]:
    """Return the class of highest score of each pixel, the scores enlarged bilinearly to ``size``.

    A few classes are enlarged at a time; of equal scores, the first class counts.
    """
    shape = (size[0], size[1])
    some = max(1, _HELD // (shape[0] * shape[1]))
    highest = torch.full(shape, -torch.inf, device=maps.device)
    classes = torch.zeros(shape, dtype=torch.int64, device=maps.device)
    for first in range(0, len(maps), some):
        part = maps[None, first : first + some]
        score, index = F.interpolate(part, size=shape, mode="bilinear")[0].max(dim=0)
        higher = score > highest
        highest = torch.where(higher, score, highest)
        classes = torch.where(higher, index + first, classes)
    return classes


def count_classes(
    images: Iterable[Seen],
    predict: Callable[[Seen], Iterable[Int[Tensor, "_ _"]]],
    data: SegmentationData,
) -> ConfusionMatrix:
    """Return the confusion matrix of images, from the classes that are predicted for each."""
    matrix = ConfusionMatrix(len(data.classes), ignored=IGNORED)
    for seen in images:
        for classes, label in zip(predict(seen), seen.labels, strict=True):
            matrix.add_images(classes[None].cpu(), label[None])
    return matrix
