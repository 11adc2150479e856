"""Features of the images of a source, in order: from a store or from the model."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.data.loader import iterate_images
from patchwise.data.source import ImageSource
from patchwise.features.content import Request
from patchwise.features.find import find_store
from patchwise.features.store import FeatureStore
from patchwise.features.subject import Subject
from patchwise.features.transform import Transform
from patchwise.features.windows import Windows, look_through
from patchwise.models.backbone import BackboneOutput


def read_features(
    subject: Subject,
    source: ImageSource,
    transform: Transform,
    *,
    ids: Sequence[int] | None = None,
    windows: Windows | None = None,
) -> Iterator[BackboneOutput]:
    """Yield the features of images, in the order of ``ids``; by default of all.

    A batch holds at most ``subject.batch`` images, and only such as have one size. With
    ``subject.stores``, features that are stored there are not computed again. Where there are none,
    those of all images are stored first if at least half of the images are wanted.

    Raises:
        DataError: An image is bad. None is left out. Or a store cannot be used.
        RangeError: A feature is not finite.
    """
    request = Request(source, transform, windows)
    wanted = range(len(source)) if ids is None else ids
    store = find_store(subject, request, worth_it=2 * len(set(wanted)) >= len(source))
    if store is None:
        return _computed(subject, request, wanted)
    subject.notes.stored += len(wanted)
    return _stored(store, wanted, subject)


def read_cls(
    subject: Subject,
    source: ImageSource,
    transform: Transform,
    *,
    windows: Windows | None = None,
) -> Float[Tensor, "M D"]:
    """Return the CLS feature of every image of a source, on the CPU; see `read_features`."""
    request = Request(source, transform, windows, patches=False)
    store = find_store(subject, request, worth_it=True)
    if store is None:
        found = _computed(subject, request, range(len(source)))
        return torch.cat([output.cls.cpu() for output in found])
    subject.notes.stored += len(source)
    return torch.from_numpy(store.cls[:]).float()


def _computed(subject: Subject, request: Request, ids: Sequence[int]) -> Iterator[BackboneOutput]:
    jobs = (
        np.array(ids[first : first + subject.batch], np.int64)
        for first in range(0, len(ids), subject.batch)
    )
    for images in iterate_images(request.source, jobs, request.transform, workers=subject.workers):
        sizes = [(height, width) for height, width in images.sizes.tolist()]
        for (height, width), rows in _runs(sizes):
            yield look_through(
                request.windows,
                subject.backbone,
                images.pixels[rows, :, :height, :width],
                batch=subject.batch,
            )


def _stored(store: FeatureStore, ids: Sequence[int], subject: Subject) -> Iterator[BackboneOutput]:
    for first in range(0, len(ids), subject.batch):
        found = [store.image(index) for index in ids[first : first + subject.batch]]
        grids = []
        for image in found:
            assert image.patches is not None, "the store was chosen for its patches"
            grids.append(image.patches.shape[:2])
        for (rows, columns), chosen in _runs(grids):
            cls, patches = (
                torch.from_numpy(np.stack(arrays)).to(subject.backbone.device).float()
                for arrays in zip(*((i.cls, i.patches) for i in found[chosen]), strict=True)
            )
            yield BackboneOutput(cls, patches.flatten(1, 2), (rows, columns))


def _runs(sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], slice]]:
    """Yield each size with where it occurs one time after the other."""
    place = 0
    for size, run in itertools.groupby(sizes):
        count = len(list(run))
        yield size, slice(place, place + count)
        place += count
