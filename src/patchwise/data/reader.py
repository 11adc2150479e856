"""Reading images in worker processes, one batch at a time."""

import itertools
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from patchwise.data.bad_images import BadImage
from patchwise.data.images import ImageProblem, collate
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from patchwise.randomness import random_uniform
from patchwise.types import ImageBatch

_NEIGHBOUR = 101  # the purpose of the draws of who goes with whom

Result = TypeVar("Result")
NearestIds = Int64[np.ndarray, "N k"]  # for each image of a source, the images nearest to it


class DeadWorker(DataError):
    """A process that read images was killed, or a decoder brought it down."""


class Job(NamedTuple):
    """Which images a batch wants."""

    epoch: int
    ids: NDArray[np.int64]


class Read(NamedTuple):
    """What a batch got."""

    images: ImageBatch | None  # None: too many bad images in a row to go on
    bad: list[BadImage]
    neighbours: ImageBatch | None = None


@dataclass(frozen=True)
class Nearby:
    """Which image goes with which as its neighbour."""

    nearest: NearestIds
    seed: int

    def candidates(self, ids: NDArray[np.int64], epoch: int) -> Iterator[list[int]]:
        """Yield, for each image, its neighbours from a random one on, then the image itself.

        The latter is known to be good: there is always something to go with it.
        """
        columns = self.nearest.shape[1]
        first = random_uniform(1, self.seed, epoch, ids, _NEIGHBOUR)[:, 0] * columns
        for index, start in zip(ids.tolist(), first.astype(int).tolist(), strict=True):
            yield [*np.roll(self.nearest[index], -start).tolist(), index]


@dataclass(frozen=True)
class Reader(Dataset[Read]):
    """Reads one batch; this is what runs in a worker. It keeps nothing between batches."""

    source: ImageSource
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    enough: int  # bad images in one batch after which to give up on it
    nearby: Nearby | None = None

    def __getitem__(self, job: Job) -> Read:
        bad: dict[int, BadImage] = {}
        number = len(self.source)
        wanted = (itertools.chain(range(i, number), range(i)) for i in job.ids.tolist())
        images = self._read_all(wanted, job.epoch, bad)
        if images is None or self.nearby is None:
            return Read(images, list(bad.values()))
        near = self._read_all(self.nearby.candidates(images.ids.numpy(), job.epoch), job.epoch, bad)
        return Read(images if near is not None else None, list(bad.values()), near)

    def _read_all(
        self, candidates: Iterable[Iterable[int]], epoch: int, bad: dict[int, BadImage]
    ) -> ImageBatch | None:
        """Read the first good one of each list of candidates; add those before it to ``bad``."""
        images: list[NDArray[np.uint8]] = []
        used: list[int] = []
        for indices in candidates:
            index = self._read_good(indices, images, bad)
            if index is None:
                return None
            used.append(index)
        return collate(images, used, epoch=epoch)

    def _read_good(
        self, indices: Iterable[int], images: list[NDArray[np.uint8]], bad: dict[int, BadImage]
    ) -> int | None:
        for index in indices:
            if index not in bad:
                try:
                    images.append(self.fit(self.source.read(index)))
                    return index
                except ImageProblem as problem:
                    name = self.source.describe(index)
                    bad[index] = BadImage(index, name, problem.reason, str(problem))
            if len(bad) >= self.enough:
                return None
        return None


def read_jobs(
    reader: Dataset[Result], jobs: Iterable[object], workers: int
) -> Generator[Result, None, None]:
    """Yield what ``reader`` reads for each job, in the order of the jobs.

    Raises:
        DeadWorker: A worker ended before its work did.
    """
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
                raise DeadWorker(
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
