"""The loops that matching is timed against find the same pairs."""

import pytest
from benchmarks.matching import TEACHER_VIEWS, check_equal, pair_views, sample_views

from patchwise.ops.geometry import MATCHERS


@pytest.mark.parametrize("matching", MATCHERS)
def test_the_plain_loop_finds_the_same_pairs(matching: str) -> None:
    groups = pair_views(sample_views())
    rows = [len(group.teacher) for group in groups]
    assert rows == [256 * TEACHER_VIEWS, 256 * 8 * TEACHER_VIEWS]
    assert check_equal(groups, matching) > 20 * sum(rows)
