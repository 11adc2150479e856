"""Schedules begin, end and bend where they should."""

import math
from itertools import pairwise

import pytest

from patchwise.errors import RangeError
from patchwise.ops.schedules import cosine, linear_warmup, warmup_cosine

ENDS = [(0.0, 1.0), (0.996, 1.0), (5e-4, 1e-6), (2.0, -3.0), (0.1, 0.1)]
PLACES = [i / 50 for i in range(51)]


@pytest.mark.parametrize(("start", "end"), ENDS)
def test_a_cosine_goes_from_start_to_end_and_is_symmetric(start: float, end: float) -> None:
    assert cosine(start, end, progress=0.0) == pytest.approx(start, rel=1e-12)
    assert cosine(start, end, progress=1.0) == end
    assert cosine(start, end, progress=0.5) == pytest.approx((start + end) / 2)
    for place in PLACES:
        both = cosine(start, end, progress=place) + cosine(start, end, progress=1 - place)
        assert both == pytest.approx(start + end)


def test_a_cosine_is_flat_at_both_ends_and_steepest_in_the_middle() -> None:
    values = [cosine(0.0, 1.0, progress=place) for place in PLACES]
    steps = [b - a for a, b in pairwise(values)]
    assert min(steps) > 0
    assert steps[:25] == sorted(steps[:25])
    assert steps[0] == pytest.approx((1 - math.cos(math.pi / 50)) / 2)
    assert max(steps) == pytest.approx(math.pi / 2 / 50, rel=0.01)
    assert cosine(0.0, 1.0, progress=1 / 3) == pytest.approx(0.25)  # cos 60 degrees = 1/2


@pytest.mark.parametrize(("start", "end"), ENDS)
def test_a_warmup_is_a_straight_line_that_stays_at_its_end(start: float, end: float) -> None:
    assert linear_warmup(start, end, at=0, length=8) == start
    for at in range(9):
        expected = start * (8 - at) / 8 + end * at / 8
        assert linear_warmup(start, end, at=at, length=8) == pytest.approx(expected)
    for later in (8.0, 9.0, 1e9):
        assert linear_warmup(start, end, at=later, length=8) == end


def test_a_warmup_of_no_length_is_over_at_once() -> None:
    assert linear_warmup(0.0, 1.0, at=0, length=0) == 1.0
    assert warmup_cosine(3.0, 1.0, at=0, warmup=0, total=10) == 3.0


def test_warming_up_and_then_a_cosine() -> None:
    def rate(at: float) -> float:
        return warmup_cosine(2.0, 0.5, at=at, warmup=10, total=50)

    for at in range(10):
        assert rate(at) == pytest.approx(2.0 * at / 10)
    for at in range(10, 51):
        expected = 0.5 + 1.5 * (1 + math.cos(math.pi * (at - 10) / 40)) / 2
        assert rate(at) == pytest.approx(expected)
    assert rate(50) == 0.5
    assert rate(10) == pytest.approx(2.0)
    assert rate(30) == pytest.approx(1.25)


def test_the_unit_of_length_does_not_matter() -> None:
    for at in (0.0, 2.5, 7.0, 20.0, 33.0):
        steps = warmup_cosine(1.0, 0.0, at=at * 77, warmup=5 * 77, total=33 * 77)
        assert warmup_cosine(1.0, 0.0, at=at, warmup=5, total=33) == pytest.approx(steps)


@pytest.mark.parametrize("warmup", [10, 20])
def test_a_run_that_is_all_warmup_never_falls(warmup: int) -> None:
    values = [warmup_cosine(1.0, 0.0, at=at, warmup=warmup, total=10) for at in range(11)]
    assert values == pytest.approx([at / warmup for at in range(11)])


def test_the_end_holds_beyond_the_end() -> None:
    assert warmup_cosine(1.0, 0.25, at=11, warmup=2, total=10) == 0.25


@pytest.mark.bad_input
@pytest.mark.parametrize("progress", [-0.001, 1.001, float("nan")])
def test_progress_outside_the_run_is_refused(progress: float) -> None:
    with pytest.raises(RangeError) as caught:
        cosine(0.0, 1.0, progress=progress)
    assert str(caught.value) == f"cosine: progress must lie in [0.0, 1.0], got {progress}"
