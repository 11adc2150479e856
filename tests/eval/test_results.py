"""Results are plain values."""

import dataclasses
import json

import pytest

from patchwise.eval.results import KNNResult

RESULT = KNNResult("patches k=20", 0.5, 0.25, num_queries=4, num_memory=9)


def test_a_result_survives_being_saved() -> None:
    assert KNNResult(**json.loads(json.dumps(dataclasses.asdict(RESULT)))) == RESULT


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESULT.accuracy = 1.0  # type: ignore[misc]
