"""Scoring a run on the way, before and after."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from patchwise.api.validation import (
    Validation,
    is_scored,
    open_validation,
    read_evaluations,
    score_table,
    write_evaluations,
)
from patchwise.data.segmentation import SegmentationData
from patchwise.errors import CheckpointError, DataError
from patchwise.eval import short
from patchwise.eval.results import Evaluation, SegmentationResult, headline
from patchwise.features.subject import Subject
from patchwise.models.weights import save_backbone
from patchwise.training.folder import RunFolder
from tests.eval.test_results import MARK, RESULT_OF
from tests.eval.tiny import Sighted, colour_data, save_colours
from tests.small_runs import run_config, small_vit


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that is complete."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    save_backbone(small_vit(0), folder.initial)
    save_backbone(small_vit(1), folder.backbone)
    folder.results.write_text(json.dumps({"format": 2, "train": {"steps": 3}}))
    return folder


def test_scenes_have_a_size_that_they_can_have() -> None:
    data = open_validation("scenes", run_config()).data
    assert isinstance(data, SegmentationData)
    assert data.fit.read(0)[0].shape == (64, 64, 3)


def test_images_are_seen_no_larger_than_in_training(tmp_path: Path, folder: RunFolder) -> None:
    save_colours(tmp_path / "val", {"": 24})
    validation = open_validation(tmp_path / "val", run_config())
    validation.score("s", Subject(Sighted(), MARK.model), folder, print)
    result: Any = read_evaluations(folder)[0].result
    assert result.fingerprint.settings["crop_px"] == 32
    assert validation.quick(Sighted()) == {"knn/dino": result.accuracy}


def test_before_and_after_are_scored_by_every_protocol(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short, "_STEPS", 3)
    said: list[str] = []
    validation = Validation(colour_data(), 32)
    assert not is_scored(folder)
    validation.score_run(folder, "cpu", said.append)
    found = read_evaluations(folder)
    assert [e.subject for e in found] == ["before training"] * 3 + ["after training"] * 3
    assert is_scored(folder)
    assert len(said) == 6
    digests = {e.result.fingerprint.model.sha256 for e in found}
    assert len(digests) == 2
    assert json.loads(folder.results.read_text())["train"] == {"steps": 3}

    write_evaluations(folder, found[:4])  # stopped in between
    assert not is_scored(folder)
    validation.score_run(folder, "cpu", said.append)
    assert len(said) == 6 + 2
    again = read_evaluations(folder)
    assert [headline(e.result) for e in again] == [headline(e.result) for e in found]


def test_a_run_may_have_no_evaluations(folder: RunFolder) -> None:
    assert read_evaluations(folder) == []


def test_the_table_has_a_row_a_subject_and_a_column_a_protocol() -> None:
    mark = replace(MARK, preset="linseg/x")
    other = SegmentationResult(mark, 0.125, {}, 0.5, best_miou=None)
    evaluations = [
        Evaluation("before [b]", RESULT_OF["classification"]),
        Evaluation("after", RESULT_OF["classification"]),
        Evaluation("after", other),
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(score_table(evaluations))
    text = console.export_text()
    assert "before [b]" in text
    assert [text.count(word) for word in ("dino", "linseg", "0.500", "0.125")] == [1, 1, 2, 1]
    assert headline(evaluations[2].result)[0] in text


@pytest.mark.bad_input
def test_too_few_labelled_images_are_refused(tmp_path: Path) -> None:
    save_colours(tmp_path, {"": 20})
    with pytest.raises(DataError, match="val must hold more than 20 images to learn from, got 20"):
        open_validation(tmp_path, run_config())


@pytest.mark.bad_input
def test_damaged_results_are_named(folder: RunFolder) -> None:
    for wrong in ([{"subject": "a"}], [1], "none"):
        folder.results.write_text(json.dumps({"train": {}, "evaluations": wrong}))
        with pytest.raises(CheckpointError, match="must have subject and result"):
            read_evaluations(folder)
    folder.results.write_text(json.dumps({"train": {}}))
    write_evaluations(folder, [Evaluation("a", RESULT_OF["classification"])])
    assert read_evaluations(folder) == [Evaluation("a", RESULT_OF["classification"])]
