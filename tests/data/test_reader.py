"""What happens to the processes that read images."""

import multiprocessing
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchwise.data.reader import Job, Nearby, Read, Reader, read_jobs
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from tests.data.numbered import Numbered


def keep(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image


def read(source: ImageSource, workers: int, count: int = 4) -> list[Read]:
    """Read the source two images at a time."""
    jobs = [Job(0, np.array([2 * i, 2 * i + 1])) for i in range(count)]
    return list(read_jobs(Reader(source, keep, enough=1), jobs, workers))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_the_order_of_the_jobs(workers: int) -> None:
    found = [batch.images for batch in read(Numbered(8), workers)]
    assert [i for images in found if images is not None for i in images.ids.tolist()] == [*range(8)]


def test_an_image_that_a_batch_shows_twice_is_read_once() -> None:
    seen = []

    class Counted(Numbered):
        def read(self, index: int) -> NDArray[np.uint8]:
            seen.append(index)
            return super().read(index)

    nearby = Nearby(np.array([[1], [0], [1], [1]]), seed=0)
    source = Counted(4, bad=frozenset({3}))  # 0 stands in for 3
    found = Reader(source, keep, enough=2, nearby=nearby)[Job(0, np.array([3, 0, 2]))]
    assert found.images is not None
    assert found.neighbours is not None
    assert found.images.ids.tolist() == [0, 0, 2]
    assert found.neighbours.ids.tolist() == [1, 1, 1]
    assert seen == [3, 0, 2, 1]


def test_candidates_are_the_neighbours_from_a_random_one_on_then_the_image() -> None:
    nearby = Nearby(np.array([[1, 2, 3], [0, 2, 3]]), seed=0)
    firsts = set()
    for epoch in range(50):
        own, other = nearby.candidates(np.array([0, 1]), epoch).tolist()
        assert own in ([1, 2, 3, 0], [2, 3, 1, 0], [3, 1, 2, 0])
        assert other in ([0, 2, 3, 1], [2, 3, 0, 1], [3, 0, 2, 1])
        firsts.add((own[0], other[0]))
    assert len(firsts) == 9


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyError])
@pytest.mark.parametrize("workers", [0, 1])
def test_other_errors_are_not_taken_for_bad_images(kind: type[Exception], workers: int) -> None:
    class Wrong(Numbered):
        def read(self, index: int) -> NDArray[np.uint8]:
            raise kind("a fault of the program")

    with pytest.raises(kind, match="a fault of the program"):
        read(Wrong(8), workers)
    assert not multiprocessing.active_children()


@pytest.mark.bad_input
def test_a_dead_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"1 workers must stay alive, got .*lower data\.workers"):
        read(Numbered(8, fatal=frozenset({4})), workers=1)


@dataclass(frozen=True)
class Interrupting(Numbered):
    """Does to each worker what Ctrl-C does to all processes of a terminal."""

    def read(self, index: int) -> NDArray[np.uint8]:
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGINT)
        return super().read(index)


def test_workers_leave_an_interrupt_to_the_main_process() -> None:
    assert len(read(Interrupting(8), workers=1)) == 4


@dataclass(frozen=True)
class Threads(Numbered):
    """Images whose value is the number of threads of the process that reads them."""

    def read(self, index: int) -> NDArray[np.uint8]:
        return np.full((16, 16, 3), torch.get_num_threads(), np.uint8)


def test_a_worker_has_one_thread() -> None:
    for batch in read(Threads(8), workers=1):
        assert batch.images is not None
        assert (batch.images.pixels == 1).all()
