"""Images in batches: an endless stream for training, one ordered pass for evaluation."""

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from patchwise.checks import check_positive, check_within
from patchwise.data.bad_images import BadImage, BadImages
from patchwise.data.images import (
    ImageProblem,
    ResizeRule,
    centre_crop,
    collate,
    resize_image,
)
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from patchwise.randomness import random_order
from patchwise.types import ImageBatch

_ORDER = 100  # the purpose of the draws of an epoch's order


class LoadedBatch(NamedTuple):
    """A batch, and the images that were replaced in it."""

    images: ImageBatch
    bad: list[BadImage]


class _Job(NamedTuple):
    epoch: int
    ids: NDArray[np.int64]


class _Read(NamedTuple):
    images: ImageBatch | None  # None: too many bad images in a row to go on
    bad: list[BadImage]


@dataclass(frozen=True)
class BatchStream:
    """The batches of a training run: the same whatever the workers, processes or interruptions.

    1. The order of an epoch is a random permutation keyed by (seed, epoch).
    2. Its consecutive slices of ``batch`` images are the global batches; what is left over at the
       end is not used in this epoch.
    3. Process r of R takes the r-th of R equal consecutive parts of each global batch.

    A bad image is replaced by the next good one of the source: at (i + 1) mod N and so on.

    Attributes:
        source: Where the images come from, N of them.
        batch: Images of a global batch, over all processes.
        seed: Of the orders.
        workers: Processes that read ahead; 0: this process reads when asked.
        resize: Applied to each image; None for none.
        rank: Number of this process.
        world_size: Number of processes.
    """

    source: ImageSource
    batch: int
    seed: int
    workers: int = 0
    resize: ResizeRule | None = None
    rank: int = 0
    world_size: int = 1

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
        reader = _Reader(self.source, _Resizing(self.resize), bad_images.tolerated + 1)
        jobs = self._jobs(start_step, stop_step)
        with closing(_run(reader, jobs, self.workers)) as reads:  # ends the workers on any error
            for read in reads:
                new = bad_images.add(read.bad)
                if read.images is None:
                    raise DataError(
                        f"BatchStream: {self.source.name!r} must hold images that can be read, "
                        f"got none in {len(self.source)}; the first: {read.bad[0].message}"
                    )
                yield LoadedBatch(read.images, new)

    def _jobs(self, start_step: int, stop_step: int | None) -> Iterator[_Job]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in count(start_step) if stop_step is None else range(start_step, stop_step):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self._order(epoch)
            yield _Job(epoch, self._part(order, step % self.steps_per_epoch))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return random_order(len(self.source), self.seed, epoch, _ORDER)

    def _part(self, order: NDArray[np.int64], position: int) -> NDArray[np.int64]:
        share = self.batch // self.world_size
        start = position * self.batch + self.rank * share
        return order[start : start + share]


def iterate_images(
    source: ImageSource, *, batch: int, resize_px: int, crop_px: int, workers: int = 0
) -> Iterator[ImageBatch]:
    """Yield every image once, in order, as `centre_crop` cuts it. The last batch may be smaller.

    Raises:
        DataError: An image is bad, or a worker died. No image is left out.
    """
    check_positive("iterate_images", batch=batch)
    check_within("iterate_images", 0, 1024, workers=workers)
    check_within("iterate_images", 1, resize_px, crop_px=crop_px)
    ids = np.arange(len(source), dtype=np.int64)
    jobs = (_Job(0, ids[start : start + batch]) for start in range(0, len(ids), batch))
    reader = _Reader(source, _CentreCropping(resize_px, crop_px), 1)
    with closing(_run(reader, jobs, workers)) as reads:
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


@dataclass(frozen=True)
class _CentreCropping:
    resize_px: int
    crop_px: int

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "S S 3"]:
        return centre_crop(image, resize_px=self.resize_px, crop_px=self.crop_px)


@dataclass(frozen=True)
class _Reader(torch.utils.data.Dataset[_Read]):
    """Reads one batch; this is what runs in a worker. It keeps nothing between batches."""

    source: ImageSource
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    enough: int  # bad images in one batch after which to give up on it

    def __getitem__(self, job: _Job) -> _Read:
        images: list[NDArray[np.uint8]] = []
        used: list[int] = []
        bad: dict[int, BadImage] = {}
        for wanted in job.ids.tolist():
            index = self._read_good(wanted, images, bad)
            if index is None:
                return _Read(None, list(bad.values()))
            used.append(index)
        return _Read(collate(images, used, epoch=job.epoch), list(bad.values()))

    def _read_good(
        self, index: int, images: list[NDArray[np.uint8]], bad: dict[int, BadImage]
    ) -> int | None:
        """Add the first good image from ``index`` on to ``images``, and those before to ``bad``."""
        for _ in range(len(self.source)):
            if index not in bad:
                try:
                    images.append(self.fit(self.source.read(index)))
                    return index
                except ImageProblem as problem:
                    name = self.source.describe(index)
                    bad[index] = BadImage(index, name, problem.reason, str(problem))
            if len(bad) >= self.enough:
                return None
            index = (index + 1) % len(self.source)
        return None


def _run(reader: _Reader, jobs: Iterable[_Job], workers: int) -> Generator[_Read, None, None]:
    """Yield what ``reader`` reads for each job, in the order of the jobs."""
    loader = DataLoader(
        reader,
        batch_size=None,  # a job is a whole batch
        sampler=jobs,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # it would draw from the global one
    )
    with _own_child_signals():
        waiting = iter(loader)
    try:
        while True:
            try:
                read = next(waiting)
            except StopIteration:
                return
            except (RuntimeError, EOFError, OSError) as error:
                if not (workers and _is_of_a_dead_worker(error)):
                    raise
                raise DataError(
                    f"BatchStream: the {workers} workers must stay alive, got {error!r}; memory "
                    f"or shared memory (/dev/shm) may have run out: lower data.workers"
                ) from error
            yield read
    finally:
        with suppress(AttributeError):  # torch promises no such method; without it they end later
            waiting._shutdown_workers()  # type: ignore[attr-defined]


@contextmanager
def _own_child_signals() -> Iterator[None]:
    """Keep torch from raising the death of a worker in whatever code happens to run then.

    It is raised instead where the next batch is awaited, some seconds later.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if before is not None:  # a handler that is not Python's cannot be set again
        signal.signal(signal.SIGCHLD, before)


def _is_of_a_dead_worker(error: Exception) -> bool:
    """Return whether the connection to a worker broke; else a worker handed on its own error."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker (pid")
    return not str(error).startswith("Caught ")


def _unchanged(read: object) -> object:
    return read


def _start_worker(_number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    torch.set_num_threads(1)
