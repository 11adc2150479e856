"""Scores stand beside each other only where they may."""

from dataclasses import replace
from typing import Any

from patchwise.eval.results import (
    ClassificationResult,
    Evaluation,
    Interval,
    SegmentationResult,
)
from patchwise.reporting.scores import score_tables
from tests.reporting.records import HOSTILE, fingerprint, health, knn, segmentation


def test_one_protocol_is_one_table_with_a_row_a_subject() -> None:
    (table,) = score_tables([knn("raw", 0.2), knn("before", 0.3), knn("after", 0.6)])
    assert [row.name for row in table.rows] == ["raw", "before", "after"]
    assert table.columns == ("accuracy", "top 5", "balanced accuracy")
    assert table.rows[2].scores == (0.6, 0.9, 0.4)
    assert table.best[0] == 0.6


def test_settings_that_differ_are_never_in_one_table() -> None:
    tables = score_tables([knn("before", 0.3), knn("after", 0.9, k=5)])
    assert len(tables) == 3
    overview, first, second = tables
    assert [row.scores for row in overview.rows] == [(0.3, None), (None, 0.9)]
    assert overview.best == (None, None)
    assert len(first.rows) == len(second.rows) == 1


def test_several_protocols_have_an_overview() -> None:
    evaluations = [knn("before", 0.3), knn("after", 0.6),
                   segmentation("before", 0.1), segmentation("after", 0.2)]  # fmt: skip
    overview, _, segmented = score_tables(evaluations)
    assert overview.columns == ("knn/test: accuracy", "segmentation/test: mIoU")
    assert [row.scores for row in overview.rows] == [(0.3, 0.1), (0.6, 0.2)]
    assert [line.name for line in segmented.classes] == ["cat", HOSTILE[0]]
    assert segmented.classes[0].scores == (0.1, 0.2)
    assert segmented.classes[1].scores == (None, None)


def test_all_settings_are_behind_the_table() -> None:
    (table,) = score_tables([knn("before", 0.3), knn("after", 0.6)])
    facts = {fact.name: fact.value for fact in table.settings}
    assert facts["k"] == "20"
    assert facts["size_px"] == "64 x 48"
    assert facts["Seed"] == "0"
    assert "400" in facts["Data"]
    assert "sha256 aaaaaaaaaaaaaaaa" in facts["before"]
    assert "torch 2.13.0" in facts["Packages"]


def test_no_evaluations_no_tables() -> None:
    assert score_tables([]) == []


def test_measurements_are_no_scores() -> None:
    tables = score_tables([knn("before", 0.3), health("before"), health("after")])
    assert [table.title for table in tables] == ["knn/test, percent", "health/test"]
    measured = tables[1]
    assert measured.columns[0] == "patch rank (of 96)"
    assert [measured.text(value) for value in measured.rows[0].scores] == [
        "40.2", "20", "0.01", "0", "0.4", "\u2013"
    ]  # fmt: skip
    assert set(measured.best) == {None}


def test_scores_are_written_as_percent() -> None:
    (table,) = score_tables([knn("before", 0.4567)])
    assert table.text(0.4567) == "45.7"
    assert table.text(None) == "\u2013"


def test_an_interval_stands_with_the_first_score() -> None:
    before, after = knn("before", 0.3), knn("after", 0.6)
    result: Any = after.result
    known = replace(after, result=replace(result, interval=Interval(0.5512, 0.6498)))
    (table,) = score_tables([before, known])
    assert [row.interval for row in table.rows] == [None, Interval(0.5512, 0.6498)]
    assert table.between(Interval(0.5512, 0.6498)) == "55.1 \u2013 65.0"


def test_what_was_measured_beside_the_score_is_told() -> None:
    mark = fingerprint()
    classified = ClassificationResult(
        mark, 0.3, 0.9, 0.4, 100, 200, best_accuracy=0.35, others={"k=5": 0.31, "k=10": 0.32},
        selected="k=5",
    )  # fmt: skip
    pixels = SegmentationResult(mark, 0.2, {}, 0.75, 0.256, miou_by_run=(0.1, 0.3))
    (table,) = score_tables([Evaluation("a", classified)])
    text = {fact.name: fact.value for fact in table.settings}["a"]
    assert "; accuracy with k=5: 31.0, k=10: 32.0; chosen: k=5" in text
    assert text.endswith("; best epoch by these very labels 35.0")
    (table,) = score_tables([Evaluation("b", pixels)])
    text = {fact.name: fact.value for fact in table.settings}["b"]
    assert text.endswith("; mIoU by run 10.0, 30.0; best epoch by these very labels 25.6")
    (table,) = score_tables([knn("c", 0.3)])
    assert {fact.name: fact.value for fact in table.settings}["c"].endswith("peak 1.00 GiB")
