"""Every image read once, in worker processes, each as training would read it."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from patchwise.checkup.hashing import Look, flat_frac, look_at, pixel_digest
from patchwise.data.bad_images import BadImage
from patchwise.data.header import ImageHeader, drawn_header
from patchwise.data.images import ImageProblem
from patchwise.data.reader import DeadWorker, read_jobs
from patchwise.data.source import ImageSource, StoredSource
from patchwise.errors import DataError

_CHUNK = 8  # images a job: few, so that the progress moves with large ones
_AHEAD = 2  # jobs that a worker has at a time: torch's default


class Seen(NamedTuple):
    """What there is to know about an image that can be used."""

    header: ImageHeader
    digest: bytes
    look: Look
    flat_frac: float


class Examined(NamedTuple):
    """One image, good or bad."""

    image: int  # its number in the source
    found: Seen | BadImage


@dataclass(frozen=True)
class Examiner(Dataset[list[Examined]]):
    """Examines a few images; this is what runs in a worker. It keeps nothing between calls."""

    source: ImageSource

    def __getitem__(self, indices: Sequence[int]) -> list[Examined]:
        return [Examined(index, self._examine(index)) for index in indices]

    def _examine(self, index: int) -> Seen | BadImage:
        try:
            pixels = self.source.read(index)
            if isinstance(self.source, StoredSource):
                header = self.source.header(index)
            else:
                header = drawn_header(*pixels.shape[:2])
        except ImageProblem as problem:
            name = self.source.describe(index)
            return BadImage(index, name, problem.reason, str(problem))
        return Seen(header, pixel_digest(pixels), look_at(pixels), flat_frac(pixels))


def examine(source: ImageSource, indices: Sequence[int], *, workers: int) -> Iterator[Examined]:
    """Yield what is to be known of some images, in their order.

    Memory is that of one image a worker; the list of files is shared with this process.

    Args:
        source: The images.
        indices: Which of them.
        workers: Processes that read; 0: this one.

    Raises:
        DataError: A worker died. The message names the image that did it, if there is one.
    """
    jobs = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    workers, done = min(workers, len(jobs)), 0
    with closing(read_jobs(Examiner(source), jobs, workers)) as reads:
        try:
            for examined in reads:
                done += 1
                yield from examined
        except DeadWorker as error:
            raise _describe_death(
                source, jobs[done : done + _AHEAD * workers + 1], error
            ) from error


def _describe_death(
    source: ImageSource, suspects: Sequence[Sequence[int]], error: DeadWorker
) -> DataError:
    """Read each image that was in work again, in a process of its own, to see which one it was."""
    for job in suspects:
        if _survives(source, job):
            continue
        for index in job:
            if not _survives(source, [index]):
                return DataError(
                    f"doctor: every image must be good or bad, got {source.describe(index)!r}, "
                    f"which ends the process that decodes it; remove it, as training would end "
                    f"there too"
                )
    return DataError(
        f"doctor: workers must stay alive, got {error.__cause__!r}, which no image causes on its "
        f"own; memory may have run out: lower --workers"
    )


def _survives(source: ImageSource, indices: Sequence[int]) -> bool:
    process = multiprocessing.Process(target=Examiner(source).__getitem__, args=(indices,))
    process.start()
    process.join()
    return process.exitcode == 0


def spread(count: int, limit: int | None) -> Sequence[int]:
    """Return ``limit`` of ``count`` indices, evenly spread from the first to the last; or all."""
    if limit is None or limit >= count:
        return range(count)
    chosen: list[int] = np.linspace(0, count - 1, num=limit).round().astype(int).tolist()
    return chosen
