"""CoTAP as a user runs it: one command from given weights, stopped, resumed, refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import patchwise
from patchwise.api import planning
from patchwise.api.training import _say_how_it_ended
from patchwise.cli import app
from patchwise.configs.loader import read_config
from patchwise.configs.run import RunConfig
from patchwise.errors import CheckpointError, ConfigError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.training.fit import Fit
from patchwise.training.folder import RunFolder
from patchwise.training.log import read_log
from patchwise.training.probe import Need
from patchwise.training.run import TrainResult
from tests.api.cotap_runs import SETTINGS, train
from tests.small_runs import small_vit

DATA, OBJECTS = "scenes:12", "scenes:9"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    patchwise.save_backbone(small_vit(), path)
    return path


@pytest.fixture(scope="module")
def complete(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = train(DATA, out, weights, objects=OBJECTS)
    assert (result.complete, result.steps) == (True, 4)
    return out


def interrupted(complete: Path, tmp_path: Path, *, after: int) -> Path:
    """Return a copy of the run as if it had been stopped after so many steps."""
    out = tmp_path / "interrupted"
    out.mkdir()
    for path in complete.rglob("*"):
        name = path.relative_to(complete)
        if path.is_dir():
            (out / name).mkdir()
        elif path.name not in {"results.json", "log.jsonl", ".lock"}:
            (out / name).write_bytes(path.read_bytes())
    lines = (complete / "log.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (out / "log.jsonl").write_text("".join(lines[:after]), encoding="utf-8")
    checkpoints = sorted((out / "checkpoints").iterdir())
    assert len(checkpoints) == 2
    checkpoints[-1].unlink()
    return out


def test_one_command_makes_a_filtered_backbone(complete: Path) -> None:
    backbone = patchwise.load_backbone(complete / "backbone.safetensors")
    assert isinstance(backbone, FilteredViT)
    assert (backbone.dim, len(backbone.filter.prototypes)) == (64, 3)
    assert read_config(complete / "config.toml").recipe == "cotap-small"
    folder = RunFolder(complete)
    assert {*complete.glob("neighbours-*")} == {
        folder.neighbours(name) for name in ("scenes", "objects")
    }
    lines = [line for line in read_log(complete / "log.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1].keys() >= {"dense", "image", "neighbour", "ranking", "prototype"}
    assert lines[-1].keys() >= {"health/mask_area", "health/filter_use", "health/image_queue_age"}


def test_a_stopped_run_goes_on_as_if_it_had_not_been(complete: Path, tmp_path: Path) -> None:
    out = interrupted(complete, tmp_path, after=2)
    result = patchwise.train(DATA, out=out, objects=OBJECTS, resume=True, quiet=True)
    assert result.complete
    ends = [patchwise.load_backbone(folder / "backbone.safetensors") for folder in (complete, out)]
    torch.testing.assert_close(ends[0].state_dict(), ends[1].state_dict(), rtol=0, atol=0)
    logs = [
        [(line["step"], line["loss"]) for line in read_log(folder / "log.jsonl") if "loss" in line]
        for folder in (complete, out)
    ]
    assert logs[0] == logs[1]


def test_what_a_stopped_run_says_goes_on(
    complete: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = TrainResult(str(tmp_path), False, 2, 4, 8, 1.0, 1, None, {})
    _say_how_it_ended(result, (DATA, OBJECTS), Console(width=300))
    said = capsys.readouterr().out
    assert f"patchwise train {DATA} --out {tmp_path} --resume --objects {OBJECTS}" in said


@pytest.mark.bad_input
def test_resuming_with_what_would_change_the_run_is_refused(
    complete: Path, weights: Path, tmp_path: Path
) -> None:
    out = interrupted(complete, tmp_path, after=2)

    def resume(**options: object) -> None:
        given = {"objects": OBJECTS, **options}
        patchwise.train(DATA, out=out, resume=True, quiet=True, **given)  # type: ignore[arg-type]

    with pytest.raises(CheckpointError, match=r"objects must be as when .* got None for scenes:9"):
        resume(objects=None)
    with pytest.raises(CheckpointError, match="objects must be the images that the run began with"):
        resume(objects="scenes:8")
    for option in ("neighbours_by", "neighbours_cache"):
        with pytest.raises(ConfigError, match=f"{option} must be left out with resume"):
            resume(**{option: weights})
    RunFolder(out).neighbours("scenes").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="must hold the neighbours of the run, got it is dam"):
        resume()


def test_a_run_on_one_set_cannot_go_on_with_two(weights: Path, tmp_path: Path) -> None:
    settings = {"train.epochs": 0.3}
    train(DATA, tmp_path / "run", weights, settings=settings)
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(CheckpointError, match=r"objects must be as when .* got scenes:9 for None"):
        patchwise.train(DATA, out=tmp_path / "run", objects=OBJECTS, resume=True, quiet=True)


def test_a_dry_run_needs_no_neighbours(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, cost = patchwise.forecast_training(
        DATA, recipe="cotap-small", init=weights, objects=OBJECTS, settings=SETTINGS
    )
    assert "to which comes the search for neighbours" in capsys.readouterr().err
    assert config.method.name == "cotap"
    assert cost.steps == 4
    assert not list(tmp_path.iterdir())


def test_a_limit_of_memory_chooses_how_a_batch_is_worked_off(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(config: RunConfig, limit_bytes: int, say: object) -> Fit:
        train = replace(config.train, recompute=True, precision="float32")
        method = replace(config.method, views_per_pass=1)
        return Fit(replace(config, train=train, method=method), Need(2**28, 1.0))

    monkeypatch.setattr(planning, "fit_memory", choose)
    config, _ = patchwise.forecast_training(
        DATA, recipe="cotap-small", init=weights, settings=SETTINGS, fit="1GiB", quiet=True
    )
    assert config.train.recompute
    assert config.method.views_per_pass == 1


def test_the_command_takes_image_sets_weights_and_a_cache(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    patchwise.save_backbone(small_vit(3), other)
    settings = [f"{name}={value}" for name, value in {**SETTINGS, "train.epochs": 0.3}.items()]
    for run, said in (("a", "embedded 12 images"), ("b", "are there already")):
        command = ["train", DATA, "--recipe", "cotap-small", "--init", str(weights)]
        command += ["--objects", OBJECTS, "--neighbours-by", str(other)]
        command += ["--neighbours-cache", str(tmp_path / "cache"), "--out", str(tmp_path / run)]
        done = CliRunner().invoke(app, [*command, *(x for s in settings for x in ("--set", s))])
        assert done.exit_code == 0, done.output
        assert said in done.stderr
    bytes_of = [RunFolder(tmp_path / run).neighbours("scenes").read_bytes() for run in "ab"]
    assert bytes_of[0] == bytes_of[1]
