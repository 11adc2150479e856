"""Results on the disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from patchwise.errors import DataError
from patchwise.eval.files import read_results, write_results
from patchwise.eval.results import dump_result
from tests.eval.test_results import MARK, RESULT_OF

KINDS = list(RESULT_OF.values())


def test_one_result_stands_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_results(path, KINDS[:1])
    assert json.loads(path.read_text())["kind"] in RESULT_OF
    assert read_results(path) == KINDS[:1]


@pytest.mark.parametrize("count", [0, 2, len(KINDS)])
def test_several_results_keep_their_order(tmp_path: Path, count: int) -> None:
    path = tmp_path / "r.json"
    write_results(path, KINDS[:count])
    assert json.loads(path.read_text())["kind"] == "results"
    assert read_results(path) == KINDS[:count]


def test_the_evaluations_of_a_run_are_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    found = [{"subject": "after", "result": json.loads(json.dumps(dump_result(r)))} for r in KINDS]
    path.write_text(json.dumps({"train": {}, "evaluations": found}))
    assert read_results(path) == KINDS
    path.write_text(json.dumps({"train": {}}))
    assert read_results(path) == []


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_results(path, KINDS)
    write_results(path, [replace(KINDS[0], fingerprint=replace(MARK, seed=3))])
    assert [result.fingerprint.seed for result in read_results(path)] == [3]
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "r.json' must be a readable file of results, got"),
        ("[]", "kind in '.*r.json' must be one of"),
        ('{"kind": "depth"}', "got 'depth'"),
        ('{"kind": "results", "results": [3]}', "kind in"),
        ('{"kind": "results", "results": 3}', "results in '.*r.json' must be a list, got 3"),
        ('{"train": {}, "evaluations": [3]}', "kind in"),
        ('{"train": {}, "evaluations": {"a": 1}}', "results in '.*r.json' must be a list, got {'a"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "r.json")
    with pytest.raises(DataError, match="readable file of results"):
        read_results(tmp_path / "none.json")


@pytest.mark.bad_input
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"out must be a file that can be written, got .*r\.json"):
        write_results(tmp_path / "no" / "r.json", KINDS)
