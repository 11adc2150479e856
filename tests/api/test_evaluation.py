"""Scoring any backbone by name."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import patchwise
from patchwise.api.evaluation import (
    describe_result,
    evaluate,
    open_labels,
    save_result,
    short_protocols,
)
from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.data.segmentation import SegmentationData
from patchwise.errors import ChoiceError, ConfigError, DataError, WeightsError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.results import HealthResult, headline, parse_result
from patchwise.models.backbone import Backbone
from tests.data.layouts.trees import make_cifar10, make_voc
from tests.eval.test_results import RESULT_OF
from tests.eval.tiny import Sighted, colour_data, save_colours
from tests.small_runs import small_vit


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
    models: dict[str, Backbone] = {
        "Sighted": Sighted(),
        "raw RGB patches of 8 px": RawPatches(8),
    }
    for name, model in models.items():
        result = evaluate(model, protocol="incontext/hummingbird-short", data=colour_data())
        assert result.fingerprint.model.name == name
        assert result.fingerprint.model.sha256 is None


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
    cifar, voc = make_cifar10(tmp_path / "cifar"), make_voc(tmp_path / "voc")
    result = evaluate(Sighted(), protocol="knn/dino-short", data=cifar, settings={"k": 5})
    assert result.fingerprint.data.name == "CIFAR-10"
    assert (result.fingerprint.data.fit, result.fingerprint.data.test) == (15, 3)
    for kind, data in ((LabelledData, cifar), (SegmentationData, voc)):
        assert isinstance(open_labels(data), kind)
    assert isinstance(open_labels(f"voc:{voc}"), SegmentationData)
    assert isinstance(open_labels(f"cifar10:{cifar}"), LabelledData)


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


def test_a_result_is_saved_and_shown(tmp_path: Path) -> None:
    for kind, result in RESULT_OF.items():
        save_result(result, tmp_path / "result.json")
        saved = json.loads((tmp_path / "result.json").read_text())
        assert parse_result(saved, source="") == result
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(describe_result(result))
        text = console.export_text()
        assert f"{headline(result)[1]:.4f}" in text, kind
        for name, value in result.fingerprint.settings.items():
            assert name in text
            assert str(value) in text


def test_the_first_short_protocol_is_the_quick_one(tmp_path: Path) -> None:
    labelled = open_labelled_data(save_colours(tmp_path, {"": 4}))
    assert short_protocols(labelled) == ("knn/dino-short",)
    assert short_protocols(colour_data())[0] == "knn/patches-short"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"protocol": "knn/patch"}, ChoiceError, "got 'knn/patch'; did you mean 'knn/patches-sho"),
        ({"protocol": "knn/dino"}, DataError, "knn/dino must be labelled images, got Segment"),
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
