"""Every image is read once and in order, by any number of processes; what ends one is named."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from patchwise.checkup.examine import Examined, Seen, examine, spread
from patchwise.checkup.hashing import pixel_digest
from patchwise.data.bad_images import BadImage
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import Scenes
from patchwise.errors import DataError
from tests.data.numbered import Numbered


@dataclass(frozen=True)
class Together(Numbered):
    """Image 20 ends a process that has read image 3 before, and no other."""

    def read(self, index: int) -> NDArray[np.uint8]:
        if index == 3:
            os.environ["READ_BEFORE"] = "yes"
        if index == 20 and "READ_BEFORE" in os.environ:
            os._exit(3)
        return super().read(index)


def every(source: ImageSource, workers: int = 0) -> list[Examined]:
    return list(examine(source, range(len(source)), workers=workers))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_image_is_examined_in_order(workers: int) -> None:
    source = Scenes(21)
    found = every(source, workers)
    assert [examined.image for examined in found] == [*range(21)]
    for examined in found:
        assert isinstance(examined.found, Seen)
        pixels = source.read(examined.image)
        assert examined.found.digest == pixel_digest(pixels)
        assert examined.found.header[:5] == ("drawn", "RGB", 8, 64, 64)


def test_only_the_wanted_images_are_read() -> None:
    assert [e.image for e in examine(Scenes(50), [3, 40, 41], workers=1)] == [3, 40, 41]


def test_bad_images_are_found_and_not_errors() -> None:
    source = Numbered(5, bad=frozenset({2}))
    found = [examined.found for examined in every(source)]
    assert [isinstance(f, BadImage) for f in found] == [False, False, True, False, False]
    message = "Numbered: 2 must be good, got bad"
    assert found[2] == BadImage(2, "image 2", "truncated", message)


@pytest.mark.bad_input
@pytest.mark.parametrize(("deadly", "workers"), [(0, 1), (29, 2)])
def test_an_image_that_ends_its_process_is_named(deadly: int, workers: int) -> None:
    source = Numbered(30, fatal=frozenset({deadly}))
    with pytest.raises(DataError) as caught:
        every(source, workers)
    assert str(caught.value).startswith(
        f"doctor: every image must be good or bad, got {source.describe(deadly)!r}, which ends"
    )


@pytest.mark.bad_input
def test_a_death_that_no_image_causes_alone_is_said_to_be_so() -> None:
    with pytest.raises(DataError, match=r"doctor: workers must stay alive.*lower --workers"):
        every(Together(30), 1)


@pytest.mark.bad_input
def test_faults_of_the_program_are_not_taken_for_bad_images() -> None:
    class Wrong(Numbered):
        def read(self, index: int) -> NDArray[np.uint8]:
            raise KeyError("a fault of the program")

    with pytest.raises(KeyError, match="a fault of the program"):
        every(Wrong(3))


@pytest.mark.parametrize(("count", "limit"), [(10, 10), (10, 11), (10, None), (1, 1)])
def test_all_are_read_where_the_limit_allows(count: int, limit: int | None) -> None:
    assert list(spread(count, limit)) == [*range(count)]


@pytest.mark.parametrize(("count", "limit"), [(10, 9), (1000, 7), (11, 6), (100, 99)])
def test_a_sample_is_evenly_spread_from_end_to_end(count: int, limit: int) -> None:
    chosen = spread(count, limit)
    assert (len(chosen), chosen[0], chosen[-1]) == (limit, 0, count - 1)
    steps = np.diff(chosen)
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1


def test_a_sample_of_one_is_the_first() -> None:
    assert list(spread(10, 1)) == [0]
