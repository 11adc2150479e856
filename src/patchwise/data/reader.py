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
from jaxtyping import Int64, UInt8
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

    def candidates(self, ids: NDArray[np.int64], epoch: int) -> Int64[np.ndarray, "B candidates"]:
        """Return, for each image, its neighbours from a random one on, then the image itself.

        The latter is known to be good: there is always something to go with it.
        """
        columns = self.nearest.shape[1]
        first = random_uniform(1, self.seed, epoch, ids, _NEIGHBOUR)[:, 0] * columns
        order = (first.astype(np.int64)[:, None] + np.arange(columns)) % columns  # [B, k]
        return np.concatenate([self.nearest[ids[:, None], order], ids[:, None]], axis=1)


Trial = Callable[[int], BadImage | None]  # what is wrong with an image; None: it is good


class Choice(NamedTuple):
    """Which images a batch shows: those it wants, or others in place of bad ones."""

    ids: list[int] | None  # None: too many bad images in a row to go on
    bad: list[BadImage]
    neighbours: list[int] | None = None


@dataclass(frozen=True)
class Reader(Dataset[Read]):
    """Reads one batch; this is what runs in a worker. It keeps nothing between batches."""

    source: ImageSource
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    enough: int  # bad images in one batch after which to give up on it
    nearby: Nearby | None = None

    def __getitem__(self, job: Job) -> Read:
        images: dict[int, NDArray[np.uint8]] = {}

        def read(index: int) -> BadImage | None:
            if index not in images:
                found = self.attempt(index)
                if isinstance(found, BadImage):
                    return found
                images[index] = found
            return None

        chosen = self.choose(job, read)
        batches = (
            None if ids is None else collate([images[i] for i in ids], ids, epoch=job.epoch)
            for ids in (chosen.ids, chosen.neighbours)
        )
        return Read(next(batches), chosen.bad, next(batches))

    def attempt(self, index: int) -> UInt8[np.ndarray, "H W 3"] | BadImage:
        """Read one image of the source and bring it to its size, or say why that cannot be."""
        try:
            return self.fit(self.source.read(index))
        except ImageProblem as problem:
            return BadImage(index, self.source.describe(index), problem.reason, str(problem))

    def choose(self, job: Job, trial: Trial) -> Choice:
        """Find good images for a job, and neighbours for them if there are to be any."""
        bad: dict[int, BadImage] = {}
        number = len(self.source)
        wanted = (itertools.chain(range(i, number), range(i)) for i in job.ids.tolist())
        ids = self._choose_all(wanted, trial, bad)
        if ids is None or self.nearby is None:
            return Choice(ids, list(bad.values()))
        candidates = self.nearby.candidates(np.array(ids), job.epoch).tolist()
        near = self._choose_all(candidates, trial, bad)
        return Choice(None if near is None else ids, list(bad.values()), near)

    def _choose_all(
        self, candidates: Iterable[Iterable[int]], trial: Trial, bad: dict[int, BadImage]
    ) -> list[int] | None:
        """Choose the first good one of each list of candidates; add those before it to ``bad``."""
        chosen = []
        for indices in candidates:
            index = self._first_good(indices, trial, bad)
            if index is None:
                return None
            chosen.append(index)
        return chosen

    def _first_good(
        self, indices: Iterable[int], trial: Trial, bad: dict[int, BadImage]
    ) -> int | None:
        for index in indices:
            if index not in bad:
                problem = trial(index)
                if problem is None:
                    return index
                bad[index] = problem
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
