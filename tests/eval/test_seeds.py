"""Results of several seeds are one score."""

import statistics
from dataclasses import replace
from typing import Any

import pytest

from patchwise.eval.results import ClassificationResult, Interval
from patchwise.eval.seeds import group_seeds
from patchwise.features.subject import ModelIdentity
from tests.eval.test_results import MARK, RESULT_OF


def scored(accuracy: float, **mark: Any) -> ClassificationResult:
    found = RESULT_OF["classification"]
    assert isinstance(found, ClassificationResult)
    interval = Interval(accuracy - 0.1, accuracy + 0.1)
    return replace(found, accuracy=accuracy, fingerprint=replace(MARK, **mark), interval=interval)


def test_seeds_are_taken_together() -> None:
    (group,) = group_seeds([scored(0.5, seed=2), scored(0.6, seed=0), scored(0.9, seed=1)])
    assert group.scores == (0.5, 0.6, 0.9)
    assert group.numbers == (2, 0, 1)
    assert group.metric == "accuracy"
    assert group.mean == pytest.approx(2.0 / 3)
    assert group.deviation == pytest.approx(statistics.stdev([0.5, 0.6, 0.9]))
    assert group.interval is None
    assert group.mark.seed == 2


def test_one_seed_has_an_interval_and_no_deviation() -> None:
    (group,) = group_seeds([scored(0.5)])
    assert group.deviation is None
    assert group.interval == Interval(0.4, 0.6)


def test_what_differs_in_more_stands_alone() -> None:
    others = [
        scored(0.5, seed=1, preset="knn/other"),
        scored(0.5, seed=1, version=2),
        scored(0.5, seed=1, settings={**MARK.settings, "k": 3}),
        scored(0.5, seed=1, data=replace(MARK.data, sha256="ff" * 32)),
        scored(0.5, seed=1, model=ModelIdentity("other", "cd" * 32)),
        replace(RESULT_OF["health"], fingerprint=replace(MARK, seed=1)),
    ]
    groups = group_seeds([scored(0.5), *others])
    assert [len(group.results) for group in groups] == [1] * 7


def test_a_seed_that_comes_again_begins_anew() -> None:
    groups = group_seeds([scored(0.5), scored(0.6), scored(0.7, seed=1), scored(0.8, seed=1)])
    assert [group.scores for group in groups] == [(0.5, 0.7), (0.6, 0.8)]


def test_the_machine_does_not_part_them() -> None:
    (group,) = group_seeds([scored(0.5), scored(0.6, seed=1, device="GPU", packages={})])
    assert len(group.results) == 2
