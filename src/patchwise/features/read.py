"""Features of the images of a source, in order."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from patchwise.data.source import ImageSource
from patchwise.features.look import look
from patchwise.features.subject import Subject
from patchwise.features.transform import Transform
from patchwise.models.backbone import BackboneOutput


def read_features(
    subject: Subject,
    source: ImageSource,
    transform: Transform,
    *,
    ids: Sequence[int] | None = None,
) -> Iterator[BackboneOutput]:
    """Yield the features of images, in the order of ``ids``; by default of all.

    A batch holds at most ``subject.batch`` images, and only such as have one size.

    Raises:
        ImageProblem: An image is bad. None is left out.
        RangeError: A feature is not finite.
    """
    wanted = range(len(source)) if ids is None else ids
    for pixels in _batches(source, transform, wanted, subject.batch):
        yield look(subject.backbone, pixels)


def read_cls(subject: Subject, source: ImageSource, transform: Transform) -> Float[Tensor, "M D"]:
    """Return the CLS feature of every image of a source, on the CPU; see `read_features`."""
    return torch.cat([found.cls.cpu() for found in read_features(subject, source, transform)])


def _batches(
    source: ImageSource, transform: Transform, ids: Sequence[int], batch: int
) -> Iterator[UInt8[Tensor, "B 3 H W"]]:
    waiting: list[UInt8[np.ndarray, "H W 3"]] = []
    for index in ids:
        image = transform(source.read(index))
        if waiting and (len(waiting) == batch or image.shape != waiting[0].shape):
            yield _stacked(waiting)
            waiting = []
        waiting.append(image)
    if waiting:
        yield _stacked(waiting)


def _stacked(images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> UInt8[Tensor, "B 3 H W"]:
    return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous()
