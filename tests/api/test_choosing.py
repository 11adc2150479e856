"""Choosing among the backbones of a run: all scored once, the best one singled out."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import patchwise
from patchwise.api import choosing
from patchwise.api.choosing import choose_checkpoint, describe_choice
from patchwise.api.evaluation import score
from patchwise.data.segmentation import open_segmentation
from patchwise.data.synthetic import Scenes, render_scenes
from patchwise.errors import DataError
from patchwise.eval.results import headline, parse_result
from tests.test_cli import TINY

FILES = [
    "initial.safetensors",
    "checkpoints/step-000000002.safetensors",
    "checkpoints/step-000000004.safetensors",
    "checkpoints/step-000000006.safetensors",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("choosing") / "run"
    settings = {**TINY, "backbone.patch_px": 8, "train.epochs": 2, "train.keep_checkpoints": 9}
    patchwise.train("scenes:12", out=out, settings={**settings, "optim.lr_per_256": 0.5})
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_the_best_is_written_beside_all_scores(run: Path) -> None:
    lines: list[str] = []
    choice = choose_checkpoint(run, data=Scenes(24, seed=5), say=lines.append)
    assert [candidate.file for candidate in choice.candidates] == FILES
    assert [candidate.step for candidate in choice.candidates] == [0, 2, 4, 6]
    assert len(lines) == 4
    scores = [candidate.result.score for candidate in choice.candidates]
    assert len(set(scores)) == 4
    assert choice.best.result.score == max(scores)
    written = json.loads((run / "choice.json").read_text())
    assert written["best"] == choice.best.file == (run / "best.txt").read_text().strip()
    for values, candidate in zip(written["candidates"], choice.candidates, strict=True):
        assert (values["file"], values["step"]) == (candidate.file, candidate.step)
        assert parse_result(values["result"], source="") == candidate.result
    again = patchwise.evaluate(
        run / "best.safetensors", protocol="health/dense", data=Scenes(24, seed=5)
    )
    assert headline(again)[1] == max(scores)
    assert again.fingerprint.protocol == choice.best.result.fingerprint.protocol


@pytest.mark.parametrize("best", range(4))
def test_whichever_scores_most_is_the_best(
    run: Path, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([3.0 if number == best else 1.0 for number in range(4)])

    def fake(*arguments: object, **options: object) -> object:
        result = score(*arguments, **options)  # type: ignore[arg-type]
        object.__setattr__(result, "score", next(values))
        return result

    monkeypatch.setattr(choosing, "score", fake)
    assert choose_checkpoint(run, data=Scenes(4, seed=5)).best.file == FILES[best]
    vit = patchwise.load_backbone(run / "best.safetensors")
    assert (run / "best.txt").read_text() == FILES[best] + "\n"
    if best == 0:
        first = patchwise.load_backbone(run / "initial.safetensors")
        same = zip(vit.parameters(), first.parameters(), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in same)


def test_a_last_backbone_of_its_own_is_scored_too(run: Path) -> None:
    (run / FILES[3]).unlink()
    choice = choose_checkpoint(run, data=Scenes(8, seed=5))
    assert [candidate.step for candidate in choice.candidates] == [0, 2, 4, None]
    assert choice.candidates[3].file == "backbone.safetensors"


def test_runs_on_scenes_have_others_to_be_scored_on(run: Path) -> None:
    choice = choose_checkpoint(run, settings={"images": 8})
    mark = choice.best.result.fingerprint
    assert mark.preset == "health/dense (changed: images)"
    assert mark.settings["size_px"] == 64
    scenes = Scenes(256, seed=2**20 + 1)
    assert mark.data.sha256 == scenes.fingerprint()
    held_out = scenes.scenes(np.arange(8)).images
    for other in (render_scenes(np.arange(8)), render_scenes(np.arange(8), seed=2**20)):
        assert not np.array_equal(other.images, held_out)


def test_images_are_named_as_elsewhere(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(render_scenes(np.arange(6), seed=9).images):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    choice = choose_checkpoint(run, data=folder)
    assert choice.best.result.fingerprint.data.test == 6
    labelled = open_segmentation("scenes")
    opened = choose_checkpoint(run, data=labelled, settings={"images": 4})
    named = choose_checkpoint(run, data="scenes", settings={"images": 4})
    prints = {c.best.result.fingerprint.data.sha256 for c in (opened, named)}
    assert prints == {labelled.test.images.fingerprint()}


def test_a_choice_is_shown(run: Path) -> None:
    choice = choose_checkpoint(run, data=Scenes(8, seed=5))
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(describe_choice(choice))
    text = console.export_text()
    for candidate in choice.candidates:
        assert candidate.file in text
        assert f"{candidate.result.score:.4f}" in text
    assert text.count("best") == 1
    assert "8 images of scenes:8" in text


@pytest.mark.bad_input
def test_training_images_and_missing_ones_are_refused(run: Path) -> None:
    with pytest.raises(DataError, match="data must be images that the run was not trained on"):
        choose_checkpoint(run, data="scenes:12")
    with pytest.raises(DataError, match="run must be the folder of a run"):
        choose_checkpoint(run / "checkpoints")
    described = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**described, "data": "/photographs"}))
    with pytest.raises(DataError, match=r"must name images .* got None; it was trained on /ph"):
        choose_checkpoint(run)
