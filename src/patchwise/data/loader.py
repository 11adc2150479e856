"""Images in batches: an endless stream for training, one pass for evaluation."""

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from patchwise.checks import check_positive, check_within
from patchwise.data.bad_images import BadImage, BadImages
from patchwise.data.images import (
    ResizeRule,
    resize_image,
)
from patchwise.data.reader import Job, Nearby, NearestIds, Reader, read_jobs
from patchwise.data.resident import Residence, read_once
from patchwise.data.source import ImageSource
from patchwise.errors import DataError, ShapeError
from patchwise.randomness import random_order
from patchwise.types import ImageBatch

_ORDER = 100  # the purpose of the draws of an epoch's order


class LoadedBatch(NamedTuple):
    """A batch, and the images that were replaced in it."""

    images: ImageBatch
    bad: list[BadImage]
    neighbours: ImageBatch | None = None  # of image i at place i


@dataclass(frozen=True)
class BatchStream:
    """The batches of a training run: the same whatever the workers, processes or interruptions.

    1. The order of an epoch is a random permutation keyed by (seed, epoch).
    2. Its consecutive slices of ``batch`` images are the global batches; what is left over at the
       end is not used in this epoch.
    3. Process r of R takes the r-th of R equal consecutive parts of each global batch.

    4. With ``neighbours``, image i comes with one of its nearest images, whose place among them is
       keyed by (seed, epoch, i): all are met, each alike.

    A bad image is replaced by the next good one of the source: at (i + 1) mod N and so on; a bad
    neighbour by the image's other neighbours, and where all are bad by the image itself.

    Attributes:
        source: Where the images come from, N of them.
        batch: Images of a global batch, over all processes.
        seed: Of the orders.
        workers: Processes that read ahead; 0: this process reads when asked.
        resize: Applied to each image; None for none.
        rank: Number of this process.
        world_size: Number of processes.
        neighbours: For each image of the source the k that are nearest to it, itself not among
            them [N, k]; None: images come alone.
        residence: Where images stay once they have been read, and the batches' pixels are;
            None: they are read anew each time. The batches are the same.
    """

    source: ImageSource
    batch: int
    seed: int
    workers: int = 0
    resize: ResizeRule | None = None
    rank: int = 0
    world_size: int = 1
    neighbours: NearestIds | None = None
    residence: Residence | None = None

    def __post_init__(self) -> None:
        check_positive("BatchStream", batch=self.batch, world_size=self.world_size)
        check_within("BatchStream", 0, self.world_size - 1, rank=self.rank)
        check_within("BatchStream", 0, 1024, workers=self.workers)
        if self.batch % self.world_size:
            raise DataError(
                f"BatchStream: batch must be a multiple of the number of processes, "
                f"got batch {self.batch} and {self.world_size} processes"
            )
        if len(self.source) < self.batch:
            raise DataError(
                f"BatchStream: {self.source.name!r} must hold at least one batch of images, got "
                f"{len(self.source)} images and batch {self.batch}; lower train.batch to at most "
                f"{len(self.source)} or add images"
            )
        if self.neighbours is not None:
            _check_neighbours(self.neighbours, len(self.source))

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return len(self.source) // self.batch

    def indices(self, step: int) -> Int64[np.ndarray, " B"]:
        """Return the images of this process at one global step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._part(self._order(epoch), position)

    def batches(
        self, bad_images: BadImages, *, start_step: int = 0, stop_step: int | None = None
    ) -> Generator[LoadedBatch, None, None]:
        """Yield the batches of the global steps from ``start_step`` on, without end by default.

        Args:
            bad_images: Where bad images are counted as their batches are yielded; restore it
                before going on with an interrupted run.
            start_step: The first global step.
            stop_step: The step before which to stop; None for never.

        Raises:
            RangeError: ``start_step`` is negative.
            DataError: More images are bad than ``bad_images`` tolerates, or a worker died.
        """
        check_within("BatchStream.batches", 0, float("inf"), start_step=start_step)
        nearby = None if self.neighbours is None else Nearby(self.neighbours, self.seed)
        reader = Reader(self.source, _Resizing(self.resize), bad_images.tolerated + 1, nearby)
        jobs = functools.partial(self._jobs, start_step, stop_step)
        if self.residence is None:
            all_reads = read_jobs(reader, jobs(), self.workers)
        else:
            all_reads = read_once(reader, jobs, self.workers, self.residence)
        with closing(all_reads) as reads:  # ends the workers on any error
            for read in reads:
                new = bad_images.add(read.bad)
                if read.images is None:
                    raise DataError(
                        f"BatchStream: {self.source.name!r} must hold images that can be read, "
                        f"got none in {len(self.source)}; the first: {read.bad[0].message}"
                    )
                yield LoadedBatch(read.images, new, read.neighbours)

    def _jobs(self, start_step: int, stop_step: int | None) -> Iterator[Job]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in (
            itertools.count(start_step) if stop_step is None else range(start_step, stop_step)
        ):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self._order(epoch)
            yield Job(epoch, self._part(order, step % self.steps_per_epoch))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return random_order(len(self.source), self.seed, epoch, _ORDER)

    def _part(self, order: NDArray[np.int64], position: int) -> NDArray[np.int64]:
        share = self.batch // self.world_size
        start = position * self.batch + self.rank * share
        return order[start : start + share]


def _check_neighbours(neighbours: NDArray[np.int64], number: int) -> None:
    if neighbours.ndim != 2 or len(neighbours) != number or not neighbours.size:
        raise ShapeError(
            f"BatchStream: neighbours must have a row of at least one for each of the {number} "
            f"images, got {neighbours.shape}"
        )
    low, high = int(neighbours.min()), int(neighbours.max())
    check_within("BatchStream", 0, number - 1, lowest_neighbour=low, highest_neighbour=high)
    alone = np.flatnonzero((neighbours == np.arange(number)[:, None]).any(axis=1))
    if len(alone):
        raise DataError(
            f"BatchStream: no image must be its own neighbour, got image {alone[0]} among those "
            f"of itself ({len(alone)} images are)"
        )


def iterate_images(
    source: ImageSource,
    jobs: Iterable[NDArray[np.int64]],
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    *,
    workers: int = 0,
) -> Iterator[ImageBatch]:
    """Yield images by their numbers, each brought to its size by ``fit``: a batch for each job.

    Args:
        source: Where the images come from.
        jobs: Which images make a batch; asked for ahead of time if there are workers.
        fit: Applied to every image; workers need to be sent it.
        workers: Processes that read ahead; 0: this process reads when asked.

    Raises:
        DataError: An image is bad, or a worker died. No image is left out.
    """
    check_within("iterate_images", 0, 1024, workers=workers)
    reader = Reader(source, fit, 1)
    with closing(read_jobs(reader, (Job(0, ids) for ids in jobs), workers)) as reads:
        for read in reads:
            if read.images is None:
                raise DataError(
                    f"iterate_images: every image of {source.name!r} must be readable, "
                    f"got image {read.bad[0].index} of {len(source)}: {read.bad[0].message}"
                )
            yield read.images


@dataclass(frozen=True)
class _Resizing:
    rule: ResizeRule | None

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
        return image if self.rule is None else resize_image(image, self.rule)
