"""Comparing the results in files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from patchwise.api.comparing import compare, comparisons_as_json
from patchwise.errors import DataError
from patchwise.eval.files import write_results
from patchwise.eval.results import ClassificationResult, dump_result
from patchwise.features.subject import ModelIdentity
from tests.eval.test_results import MARK

FIRST = ClassificationResult(MARK, 0.5, 0.75, 0.25, num_queries=4, num_memory=9)
SECOND = replace(
    FIRST, accuracy=0.75, fingerprint=replace(MARK, model=ModelIdentity("b", "ee" * 32))
)


def test_files_are_compared_by_their_names(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, result in zip(paths, (FIRST, SECOND), strict=True):
        write_results(path, [result])
    found = compare(paths)
    (only,) = found.comparisons
    assert (only.left.source, only.right.source) == (str(paths[0]), str(paths[1]))
    assert only.comparable
    content = json.loads(comparisons_as_json(found))
    assert content["comparisons"][0]["gap"] == 0.25
    assert content["comparisons"][0]["differences"][0]["what"] == "weights"
    assert content["alone"] == []


def test_the_folder_of_a_run_stands_for_its_results(tmp_path: Path) -> None:
    evaluations = [
        {"subject": name, "result": dump_result(result)}
        for name, result in (("before", FIRST), ("after", SECOND))
    ]
    (tmp_path / "results.json").write_text(json.dumps({"train": {}, "evaluations": evaluations}))
    (only,) = compare([tmp_path]).comparisons
    assert only.gap == 0.25


@pytest.mark.bad_input
def test_there_must_be_something_to_compare(tmp_path: Path) -> None:
    write_results(tmp_path / "a.json", [])
    with pytest.raises(DataError, match=r"at least one result, got '.*a\.json'"):
        compare([tmp_path / "a.json"])
    with pytest.raises(DataError, match="got 'no file'"):
        compare([])
    with pytest.raises(DataError, match=r"none\.json' must be a readable file of results"):
        compare([tmp_path / "none.json"])
