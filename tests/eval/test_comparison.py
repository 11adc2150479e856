"""A difference between scores is explained, and said first whether it means anything."""

from dataclasses import replace
from typing import Any

import pytest

from patchwise.eval.comparison import Comparison, compare_results
from patchwise.eval.results import (
    ClassificationResult,
    HealthResult,
    Interval,
    Result,
    SegmentationResult,
)
from patchwise.features.subject import ModelIdentity
from tests.eval.test_results import MARK, RESULT_OF

OTHER = ModelIdentity("other.safetensors", "ef" * 32)


def segmented(miou: float, classes: tuple[str, ...] = ("cat", "dog"), **mark: Any) -> Result:
    values = {"preset": "linseg/cotap", "settings": {"test_px": 448, "rate": 0.003}, **mark}
    iou: dict[str, float | None] = dict.fromkeys(classes, miou)
    return SegmentationResult(
        replace(MARK, **values), miou, iou, 0.9, None, Interval(miou - 0.02, miou + 0.02)
    )


def knn(accuracy: float, **mark: Any) -> Result:
    found = RESULT_OF["classification"]
    assert isinstance(found, ClassificationResult)
    return replace(found, accuracy=accuracy, fingerprint=replace(MARK, **mark))


def compared(left: Result, right: Result) -> Comparison:
    (found,) = compare_results([("a.json", [left]), ("b.json", [right])]).comparisons
    return found


def whats(found: Comparison) -> list[str]:
    return [difference.what for difference in found.differences]


def test_other_weights_under_one_protocol_are_the_models_difference() -> None:
    found = compared(segmented(0.4), segmented(0.5, model=OTHER))
    assert found.comparable
    assert found.verdict == "Same protocol and data: the difference is the model's."
    assert whats(found) == ["weights"]
    assert found.gap == pytest.approx(0.1)
    assert (found.left.source, found.right.source) == ("a.json", "b.json")
    assert (found.left.score, found.right.model) == (0.4, "other.safetensors")


def test_another_setting_bars_the_comparison_and_is_named() -> None:
    other = segmented(0.5, settings={"test_px": 100, "rate": 0.003})
    found = compared(segmented(0.4), other)
    assert not found.comparable
    assert found.verdict == "Not comparable: setting test_px 448 vs 100."
    assert ["41.8" in note for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("change", "what", "texts"),
    [
        ({"preset": "linseg/leopart"}, "protocol", ("linseg/cotap", "linseg/leopart")),
        ({"version": 2}, "protocol version", ("1", "2")),
        ({"settings": {"test_px": 448}}, "setting rate", ("0.003", "none such")),
        ({"data": replace(MARK.data, test=3)}, "test images", ("4", "3")),
        ({"data": replace(MARK.data, fit=8)}, "images to learn from", ("9", "8")),
        (
            {"data": replace(MARK.data, sha256="99" * 32)},
            "data",
            ("cats (abababababab)", "cats (999999999999)"),
        ),
        ({"classes": ("cat", "cow", "ox")}, "classes", ("2 with dog", "3 with cow")),
    ],
)
def test_what_bars_a_comparison(change: dict[str, Any], what: str, texts: tuple[str, str]) -> None:
    found = compared(segmented(0.4), segmented(0.5, **change))
    assert not found.comparable
    (difference,) = found.differences
    assert (difference.what, difference.left, difference.right) == (what, *texts)
    assert found.verdict == f"Not comparable: {what} {texts[0]} vs {texts[1]}."


@pytest.mark.parametrize(
    ("change", "what", "texts"),
    [
        ({"model": OTHER}, "weights", ("cdcdcdcdcdcd", "efefefefefef")),
        ({"model": replace(MARK.model, name="new")}, "name of the model", (MARK.model.name, "new")),
        ({"seed": 3}, "seed", ("0", "3")),
        ({"device": "GPU"}, "device", ("cpu", "GPU")),
        ({"packages": {"torch": "2.14.0"}}, "torch", ("2.13.0", "2.14.0")),
        ({"packages": {"torch": "2.13.0", "new": "1"}}, "new", ("none such", "1")),
    ],
)  # fmt: skip
def test_what_is_told_and_bars_nothing(
    change: dict[str, Any], what: str, texts: tuple[str, str]
) -> None:
    found = compared(segmented(0.4), segmented(0.5, **change))
    assert found.comparable
    (difference,) = found.differences
    assert (difference.what, difference.left, difference.right) == (what, *texts)


def test_verdicts_name_what_else_differs() -> None:
    same = compared(segmented(0.4), segmented(0.4, device="GPU"))
    assert same.verdict == "Same protocol, data and weights: a difference comes of device."
    assert compared(knn(0.4), knn(0.4)).verdict == "Same protocol, data and weights."
    both = compared(segmented(0.4), segmented(0.5, model=OTHER, device="GPU", seed=1))
    assert both.verdict.endswith("the difference is the model's, or of seed, device.")
    unknown = ModelIdentity("raw", None)
    raw = compared(segmented(0.4, model=unknown), segmented(0.4, model=unknown))
    assert "whose weights are not known" in raw.verdict
    one = compared(segmented(0.4), segmented(0.4, model=unknown))
    assert one.verdict.endswith("the difference is the model's.")
    many = compared(
        segmented(0.4),
        segmented(0.5, version=3, settings={"test_px": 1}, data=replace(MARK.data, fit=1, test=1)),
    )
    assert many.verdict.endswith(", setting rate 0.003 vs none such and 2 more.")


def test_seconds_and_memory_are_never_told() -> None:
    assert whats(compared(segmented(0.4), segmented(0.4, seconds=99.0, peak_bytes=1))) == []


def test_settings_of_other_families_are_not_listed() -> None:
    found = compared(
        segmented(0.4), segmented(0.5, preset="incontext/hummingbird", settings={"k": 3})
    )
    assert whats(found) == ["protocol"]
    changed = segmented(0.5, preset="linseg/cotap (changed: rate)",
                        settings={"test_px": 448, "rate": 1.0})  # fmt: skip
    assert whats(compared(segmented(0.4), changed)) == ["setting rate"]


def test_intervals_are_read_with_care() -> None:
    (apart,) = compared(segmented(0.4), segmented(0.5, model=OTHER)).notes
    assert "lie apart" in apart
    (apart,) = compared(segmented(0.5), segmented(0.4, model=OTHER)).notes
    assert "lie apart" in apart
    (overlap,) = compared(segmented(0.4), segmented(0.43, model=OTHER)).notes
    assert "overlap" in overlap
    (overlap,) = compared(segmented(0.43), segmented(0.4, model=OTHER)).notes
    assert "overlap" in overlap
    (equal,) = compared(segmented(0.4), segmented(0.4, model=OTHER)).notes
    assert equal == "The scores are equal."
    other_data = segmented(0.5, data=replace(MARK.data, sha256="99" * 32))
    assert compared(segmented(0.4), other_data).notes == ()
    assert compared(knn(0.4), knn(0.5)).notes == ()


def test_what_was_chosen_on_the_scored_images_is_told() -> None:
    chosen = knn(0.5)
    assert isinstance(chosen, ClassificationResult)
    found = compared(knn(0.4), replace(chosen, selected="k=5"))
    assert found.comparable
    assert [(d.what, d.left, d.right) for d in found.differences] == [("chosen", "nothing", "k=5")]
    assert "flatters" in found.notes[-1]


def test_seeds_are_compared_by_their_means() -> None:
    left = [segmented(0.3, seed=0), segmented(0.5, seed=1)]
    right = [segmented(0.6, seed=0, model=OTHER), segmented(0.8, seed=1, model=OTHER)]
    (found,) = compare_results([("a", left), ("b", right)]).comparisons
    assert found.gap == pytest.approx(0.3)
    assert found.left.seeds == (0, 1)
    assert found.left.deviation == pytest.approx(0.1414, abs=1e-4)
    assert whats(found) == ["weights"]


def test_results_of_suites_find_their_like() -> None:
    first = [segmented(0.1), segmented(0.2, preset="incontext/hummingbird"), knn(0.3)]
    second = [
        knn(0.6, model=OTHER),
        segmented(0.5, preset="incontext/hummingbird-short", model=OTHER),
        segmented(0.4, preset="linseg/leopart", model=OTHER),
        segmented(0.7, preset="overcluster/leopart", model=OTHER),
    ]
    found = compare_results([("a", first), ("b", second)])
    pairs = [(c.left.preset, c.right.preset) for c in found.comparisons]
    assert pairs == [
        ("knn/dino", "knn/dino"),
        ("incontext/hummingbird", "incontext/hummingbird-short"),
        ("linseg/cotap", "linseg/leopart"),
    ]
    assert found.alone == ("b: overcluster/leopart",)
    assert compare_results([("a", first), ("b", second[:1])]).alone == (
        "a: linseg/cotap",
        "a: incontext/hummingbird",
    )


def test_the_nearest_name_wins() -> None:
    first = [segmented(0.1, preset="linseg/cotap-short"), segmented(0.2)]
    (found,) = compare_results([("a", first), ("b", [segmented(0.3)])]).comparisons
    assert found.left.score == 0.2
    first = [segmented(0.1, preset="linseg/leopart"), segmented(0.2, preset="linseg/cotap-short")]
    (found,) = compare_results([("a", first), ("b", [segmented(0.3)])]).comparisons
    assert found.left.score == 0.2


def test_single_scores_are_compared_whatever_their_protocols() -> None:
    assert not compared(segmented(0.4), segmented(0.5, preset="overcluster/leopart")).comparable
    found = compare_results([("a", [segmented(0.4)]), ("b", [knn(0.5)])])
    assert found.comparisons == ()
    assert found.alone == ("b: knn/dino", "a: linseg/cotap")


def test_three_files_are_compared_with_the_first() -> None:
    files = [(name, [segmented(score)]) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    found = compare_results(files).comparisons
    assert [(c.left.source, c.right.source) for c in found] == [("a", "b"), ("a", "c")]


def test_one_file_is_compared_with_itself() -> None:
    results = [segmented(0.1), knn(0.2), segmented(0.3, model=OTHER), segmented(0.4, device="GPU")]
    found = compare_results([("run", results)])
    assert [(c.left.score, c.right.score) for c in found.comparisons] == [(0.1, 0.3), (0.1, 0.4)]
    assert found.alone == ("run: knn/dino",)


def test_measurements_are_compared_too() -> None:
    health = RESULT_OF["health"]
    assert isinstance(health, HealthResult)
    found = compared(health, replace(health, patch_rank=50.0))
    assert (found.metric, found.gap) == ("patch rank", 9.5)


def test_clusters_that_are_matched_are_told() -> None:
    found = compared(segmented(0.4), segmented(0.5, preset="overcluster/leopart"))
    assert whats(found) == ["protocol", "matching of clusters"]
    assert "can only raise a score" in found.notes[0]
    both = compared(segmented(0.4, preset="unsupseg/stego"),
                    segmented(0.5, preset="overcluster/leopart"))  # fmt: skip
    assert whats(both) == ["protocol"]
