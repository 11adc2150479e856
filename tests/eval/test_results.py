"""Results are plain values that can be saved, read back and compared."""

import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest

from patchwise.errors import DataError
from patchwise.eval.results import (
    RESULTS,
    ClassificationResult,
    DataIdentity,
    DenseScoreResult,
    Fingerprint,
    HealthResult,
    Result,
    RunHealthResult,
    SegmentationResult,
    dump_result,
    headline,
    parse_result,
)
from patchwise.features.subject import ModelIdentity

MARK = Fingerprint(
    preset="knn/dino",
    version=1,
    settings={"k": 20, "temperature": 0.07, "aspect": (0.75, 1.25), "flip": True, "fit": None},
    data=DataIdentity("cats", fit=9, test=4, sha256="ab" * 32),
    model=ModelIdentity("backbone.safetensors", "cd" * 32),
    seed=0,
    device="cpu",
    packages={"torch": "2.13.0"},
    seconds=1.5,
    peak_bytes=2**20,
)
RESULT_OF: dict[str, Result] = {
    "dense-score": DenseScoreResult(MARK, 3.5, pairs=900, dim=96),
    "run-health": RunHealthResult(
        MARK, 200, 9, 0.3, 0.2, 0.75, 0.4, {"update": 0.5}, "collapse", "few take all"
    ),
    "health": HealthResult(MARK, 40.5, 12.0, 96, 0.1, 0.0, 0.2, 0.3, None),
    "classification": ClassificationResult(MARK, 0.5, 0.75, 0.25, num_queries=4, num_memory=9),
    "segmentation": SegmentationResult(MARK, 0.5, {"cat": 0.5, "dog": None}, 0.75, best_miou=None),
}


def test_every_kind_is_tested_here() -> None:
    assert RESULT_OF.keys() == RESULTS.keys()


@pytest.mark.parametrize("kind", sorted(RESULTS))
def test_a_result_survives_being_saved(kind: str) -> None:
    saved = json.loads(json.dumps(dump_result(RESULT_OF[kind])))
    assert saved["kind"] == kind
    assert parse_result(saved, source="results.json") == RESULT_OF[kind]


def test_the_protocol_tells_what_may_be_compared() -> None:
    same = replace(MARK, model=ModelIdentity("other", None), seconds=9.0, device="GPU", packages={})
    assert same.protocol == MARK.protocol
    others = [
        replace(MARK, preset="knn/other"),
        replace(MARK, version=2),
        replace(MARK, settings={**MARK.settings, "k": 10}),
        replace(MARK, data=replace(MARK.data, sha256="ee" * 32)),
        replace(MARK, data=replace(MARK.data, fit=8)),
        replace(MARK, seed=1),
    ]
    assert len({MARK.protocol, *(other.protocol for other in others)}) == 7


def test_each_result_has_one_score_it_is_known_by() -> None:
    assert headline(RESULT_OF["classification"]) == ("accuracy", 0.5)
    assert headline(RESULT_OF["health"]) == ("patch rank", 40.5)
    assert headline(RESULT_OF["segmentation"]) == ("mIoU", 0.5)


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESULT_OF["classification"].accuracy = 1.0  # type: ignore[misc, union-attr]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "depth"},
            "kind in 'r.json' must be one of classification, dense-score, health, run-health, "
            "segmentation, got 'depth'",
        ),
        (
            {"accuracy": "high"},
            "accuracy of a classification result in 'r.json' must be valid, got 'high'",
        ),
        (
            {"fingerprint": 3},
            "fingerprint of a classification result in 'r.json' must be valid, got 3",
        ),
    ],
)
def test_what_is_no_result_is_refused(change: dict[str, Any], message: str) -> None:
    saved = {**dump_result(RESULT_OF["classification"]), **change}
    with pytest.raises(DataError, match=message):
        parse_result(saved, source="r.json")
