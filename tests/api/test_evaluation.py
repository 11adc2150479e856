"""Scoring any backbone by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import patchwise
from patchwise.api.evaluation import evaluate, evaluate_many
from patchwise.api.models import open_subject
from patchwise.errors import ChoiceError, ConfigError, DataError, RangeError, WeightsError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.files import read_results
from patchwise.eval.patches import KNNPatches
from patchwise.eval.results import HealthResult, Result, headline
from patchwise.features.subject import Subject
from tests.data.layouts.trees import make_cifar10
from tests.eval.tiny import Sighted, colour_data, save_colours
from tests.small_runs import small_vit

SHORT = ("knn/patches-short", "incontext/hummingbird-short")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds with which k-NN of patches was run, as it is run."""
    seen: list[int] = []
    run: Callable[..., Any] = KNNPatches.run

    def counted(self: KNNPatches, subject: Subject, data: Any) -> Result:
        seen.append(self.seed)
        found: Result = run(self, subject, data)
        return found

    monkeypatch.setattr(KNNPatches, "run", counted)
    return seen


def test_a_file_is_scored_and_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    patchwise.save_backbone(small_vit(), path)
    result = evaluate(path, protocol="knn/patches-short", data=colour_data())
    assert result.fingerprint.model.name == "mine.safetensors"
    assert result.fingerprint.model.sha256 is not None
    again = evaluate(small_vit(), protocol="knn/patches-short", data=colour_data())
    assert again.fingerprint.model.sha256 == result.fingerprint.model.sha256
    assert again.fingerprint.protocol == result.fingerprint.protocol


def test_anything_that_gives_patches_is_scored() -> None:
    def tokens(images: torch.Tensor) -> torch.Tensor:
        return Sighted()(images).patches

    models: dict[str, Any] = {
        "Sighted": Sighted(),
        "raw RGB patches of 8 px": RawPatches(8),
        "pixels (CLS: mean of patches)": tokens,
    }
    tokens.__qualname__ = "pixels"
    scores = []
    for name, model in models.items():
        result = evaluate(model, protocol="incontext/hummingbird-short", data=colour_data())
        assert result.fingerprint.model.name == name
        scores.append(headline(result)[1])
    assert scores[0] == scores[2]


def test_modules_are_scored_in_eval_mode() -> None:
    vit = small_vit().train()
    evaluate(vit, protocol="knn/patches-short", data=colour_data())
    assert not vit.training


def test_class_folders_are_opened_by_the_protocols_kind(tmp_path: Path) -> None:
    root = save_colours(tmp_path, {"train": 24, "val": 4})
    result = evaluate(Sighted(), protocol="knn/dino-short", data=root, settings={"k": 5})
    assert result.fingerprint.preset == "knn/dino-short (changed: k)"
    assert result.fingerprint.settings["crop_px"] == 40


def test_published_data_are_opened_by_where_they_lie(tmp_path: Path) -> None:
    cifar = make_cifar10(tmp_path / "cifar")
    result = evaluate(Sighted(), protocol="knn/dino-short", data=cifar, settings={"k": 5})
    assert result.fingerprint.data.name == "CIFAR-10"
    assert (result.fingerprint.data.fit, result.fingerprint.data.test) == (15, 3)


def test_several_protocols_are_run_in_order_and_told(tmp_path: Path) -> None:
    lines: list[str] = []
    out = tmp_path / "r.json"
    results = evaluate_many(
        Sighted(), protocols=SHORT, data=colour_data(), out=out, say=lines.append
    )
    assert [result.fingerprint.preset for result in results] == list(SHORT)
    assert read_results(out) == results
    assert lines == [
        f"{name}: {metric} {value:.4f}"
        for name, (metric, value) in zip(SHORT, map(headline, results), strict=True)
    ]


def test_images_are_opened_with_what_labels_there_are(tmp_path: Path) -> None:
    model, folder = small_vit(), tmp_path / "pictures"
    save_colours(folder, {"": 6})
    for data, objects in (
        ("scenes:20", "masks"),
        ("scenes", "labels"),
        (folder, "attention"),
        (colour_data(), "labels"),
    ):
        result = evaluate(model, protocol="health/features", data=data, settings={"images": 6})
        assert isinstance(result, HealthResult)
        assert result.objects == objects
        assert result.fingerprint.data.test == 6


def test_what_is_done_is_not_done_again(tmp_path: Path, runs: list[int]) -> None:
    out = tmp_path / "r.json"
    call: dict[str, Any] = {"protocols": SHORT[:1], "data": colour_data(), "out": out}
    first = evaluate_many(Sighted(), **call)
    lines: list[str] = []
    assert evaluate_many(Sighted(), **call, say=lines.append) == first
    assert runs == [0]
    assert f"(from {out})" in lines[0]
    evaluate_many(Sighted(), **{**call, "settings": {"k": 3}})
    evaluate_many(Sighted(), **{**call, "data": colour_data(unlabelled=0.1)})
    evaluate_many(open_subject(Sighted(), name="other"), **call)
    evaluate_many(RawPatches(8), **call)
    evaluate_many(RawPatches(8), **call)  # which has no weights to be known by
    assert len(runs) == 6
    assert len(read_results(out)) == 6
    assert read_results(out)[0] == first[0]


@pytest.mark.parametrize("part", ["packages", "version", "seed", "settings"])
def test_what_was_done_otherwise_is_done_again(tmp_path: Path, runs: list[int], part: str) -> None:
    out = tmp_path / "r.json"
    call: dict[str, Any] = {"protocols": SHORT[:1], "data": colour_data(), "out": out}
    evaluate_many(Sighted(), **call)
    content = json.loads(out.read_text())
    others = {"packages": {"torch": "1.0"}, "version": 0, "seed": 9, "settings": {"k": 20}}
    content["fingerprint"][part] = others[part]
    out.write_text(json.dumps(content))
    evaluate_many(Sighted(), **call)
    assert len(runs) == 2


def test_finished_results_are_kept_when_a_later_one_fails(tmp_path: Path) -> None:
    out = tmp_path / "r.json"

    class Stops(Sighted):
        left = 100

        def __call__(self, images: torch.Tensor, *, attention: bool = False) -> Any:
            Stops.left -= len(images)
            if Stops.left < 0:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        evaluate_many(Stops(), protocols=(*SHORT, *SHORT), data=colour_data(), out=out)
    kept = read_results(out)
    assert [result.fingerprint.preset for result in kept] == list(SHORT)
    Stops.left = 10_000
    assert evaluate_many(Stops(), protocols=SHORT, data=colour_data(), out=out) == kept


def test_seeds_are_run_one_by_one(tmp_path: Path, runs: list[int]) -> None:
    out = tmp_path / "r.json"
    data = colour_data()
    results = evaluate_many(Sighted(), protocols=SHORT[:1], data=data, seeds=2, out=out)
    assert [result.fingerprint.seed for result in results] == [0, 1]
    evaluate_many(Sighted(), protocols=SHORT[:1], data=data, seeds=3, out=out)
    assert runs == [0, 1, 2]


def test_protocols_without_labels_are_left_out_by_name(tmp_path: Path) -> None:
    lines: list[str] = []
    names = ("knn/dino-short", "knn/patches-short")
    results = evaluate_many(Sighted(), protocols=names, data=colour_data(), say=lines.append)
    assert [result.fingerprint.preset for result in results] == ["knn/patches-short"]
    assert lines[0].startswith("knn/dino-short is left out: evaluate: data must have a class for")
    root = save_colours(tmp_path, {"train": 24, "val": 4})
    (result,) = evaluate_many(Sighted(), protocols=names, data=root, say=lines.append)
    assert result.fingerprint.preset == "knn/dino-short"


@pytest.mark.bad_input
def test_a_protocol_that_fails_stops_no_other_one(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("overcluster/leopart-short", "knn/patches-short")
    (result,) = evaluate_many(Sighted(), protocols=names, data=colour_data())
    assert result.fingerprint.preset == "knn/patches-short"
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("overcluster/leopart-short is left out: faiss_k_means: points must")
    assert lines[1].startswith("knn/patches-short: accuracy")
    with pytest.raises(RangeError, match="points must be at least as many as clusters"):
        evaluate_many(Sighted(), protocols=names[:1], data=colour_data())


@pytest.mark.bad_input
def test_data_that_serve_nothing_are_an_error() -> None:
    with pytest.raises(DataError, match="must have a class for each image"):
        evaluate_many(Sighted(), protocols=["knn/dino", "knn/dino-short"], data=colour_data())


@pytest.mark.bad_input
def test_settings_are_checked_before_anything_is_run(runs: list[int]) -> None:
    call: dict[str, Any] = {"protocols": SHORT, "data": colour_data()}
    with pytest.raises(ConfigError, match="key 'queries' must be an option"):
        evaluate_many(Sighted(), **call, settings={"queries": 5})
    with pytest.raises(ConfigError, match="'seed' must be left out with seeds, got 3"):
        evaluate_many(Sighted(), **call, seeds=2, settings={"seed": 3})
    with pytest.raises(RangeError, match="seeds must be positive, got 0"):
        evaluate_many(Sighted(), **call, seeds=0)
    with pytest.raises(ChoiceError, match=r"protocols\[1\] must be one of .*'knn/dinno'; did you"):
        evaluate_many(Sighted(), protocols=["knn/dino", "knn/dinno"], data=colour_data())
    assert not runs


@pytest.mark.bad_input
def test_a_file_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("precious")
    with pytest.raises(DataError, match="must be a readable file of results"):
        evaluate_many(Sighted(), protocols=SHORT, data=colour_data(), out=out)
    assert out.read_text() == "precious"
    out = tmp_path / "no" / "r.json"
    with pytest.raises(DataError, match=r"out must lie in a folder that is there, got '.*r.json'"):
        evaluate_many(Sighted(), protocols=SHORT, data=colour_data(), out=out)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"protocol": "knn/patch"}, ChoiceError, "got 'knn/patch'; did you mean 'knn/patches-sho"),
        ({"protocol": "knn/dino"}, DataError, "data must have a class for each image, got Segment"),
        ({"settings": {"kk": 3}}, ConfigError, "key 'kk' must be an option"),
        ({"model": "none.safetensors"}, WeightsError, "none.safetensors"),
        ({"data": "nowhere"}, DataError, "nowhere' must hold one of classes.yaml"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    call = {"model": Sighted(), "protocol": "knn/patches-short", "data": colour_data(), **change}
    with pytest.raises(error, match=message):
        evaluate(call.pop("model"), **call)


def test_the_seed_of_torch_does_not_count() -> None:
    scores = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        result: Any = evaluate(
            Sighted(), protocol="linseg/cotap-short", data=colour_data(), settings={"steps": 5}
        )
        scores.append(result.miou)
    assert scores[0] == scores[1]
