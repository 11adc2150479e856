"""Results and comparisons as people read them."""

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from patchwise.api.showing import describe_comparisons, describe_results
from patchwise.eval.comparison import compare_results
from patchwise.eval.results import (
    ClassificationResult,
    Interval,
    Result,
    SegmentationResult,
    headline,
)
from patchwise.features.subject import ModelIdentity
from tests.eval.test_results import MARK, RESULT_OF

CLASSES = ClassificationResult(MARK, 0.5, 0.75, 0.25, num_queries=4, num_memory=9)
PIXELS = SegmentationResult(MARK, 0.5, {"cat": 0.5, "dog": None}, 0.75, best_miou=None)


def text_of(shown: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(shown)
    return console.export_text()


def test_one_result_is_shown_with_all_that_stands_behind_it() -> None:
    for kind, result in RESULT_OF.items():
        text = text_of(describe_results([result]))
        assert f"{headline(result)[1]:.4f}" in text, kind
        for name, value in result.fingerprint.settings.items():
            assert name in text
            assert str(value) in text
        assert "cats: 4 images, 9 to learn from" in text
        assert "backbone.safetensors cdcdcdcdcdcd" in text


def test_what_comes_with_a_score_is_shown() -> None:
    chosen = replace(
        CLASSES, interval=Interval(0.45, 0.5501), others={"k=5": 0.4321}, selected="k=20 [best]",
        best_accuracy=0.6543,
    )  # fmt: skip
    text = text_of(describe_results([chosen]))
    assert "95 % interval of accuracy" in text
    assert "0.4500 to 0.5501" in text
    assert "accuracy with k=5" in text
    assert "0.4321" in text
    assert "k=20 [best]" in text
    assert "0.6543" in text
    runs = text_of(describe_results([replace(PIXELS, miou_by_run=(0.4, 0.6))]))
    assert "mIoU of run 2" in runs
    assert "IoU of dog" in runs
    assert "absent" in runs


def test_several_results_have_a_row_each_and_seeds_one_together() -> None:
    results: list[Result] = [
        replace(PIXELS, miou=miou, fingerprint=replace(MARK, preset="linseg/cotap", seed=seed))
        for seed, miou in enumerate((0.25, 0.5, 0.75))
    ]
    results.append(replace(CLASSES, interval=Interval(0.45, 0.55)))
    text = text_of(describe_results(results))
    lines = [line for line in text.splitlines() if "linseg/cotap" in line or "knn/dino" in line]
    assert len(lines) == 2
    assert "0.5000 ± 0.2500 (3 seeds)" in lines[0]
    assert " 4.5 " in lines[0]  # seconds of all seeds
    assert "0.4500 to 0.5500" in lines[1]
    assert "cats (4)" in text


def test_a_comparison_begins_with_its_verdict() -> None:
    other = replace(
        PIXELS, miou=0.625, interval=Interval(0.6, 0.65),
        fingerprint=replace(MARK, model=ModelIdentity("m [red]", "ee" * 32), settings={"k": 3}),
    )  # fmt: skip
    alone = replace(CLASSES, fingerprint=replace(MARK, preset="other/one"))
    found = compare_results([("a.json", [PIXELS]), ("b.json", [other, alone])])
    text = text_of(describe_comparisons(found))
    assert text.startswith("Not comparable: setting k 20 vs 3")
    assert "Difference: +0.1250." in text
    assert "m [red]" in text
    assert "0.6000 to 0.6500" in text
    assert "eeeeeeeeeeee" in text
    assert "Nothing to compare with: b.json: other/one" in text
