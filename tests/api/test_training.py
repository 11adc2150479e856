"""Training as a user calls it from Python, on real files."""

import json
import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import patchwise
from patchwise.api import planning
from patchwise.api import training as api
from patchwise.api.validation import Validation, is_scored
from patchwise.configs.loader import read_config
from patchwise.configs.normalisation import Normalisation
from patchwise.configs.run import RunConfig
from patchwise.data.synthetic import render_scenes
from patchwise.errors import CheckpointError, ConfigError, DataError
from patchwise.training.checkpoint import list_checkpoints
from patchwise.training.fit import Fit
from patchwise.training.folder import RunFolder
from patchwise.training.log import read_log
from patchwise.training.probe import Need
from tests.models.weights.published import FAMILIES
from tests.small_runs import small_filtered
from tests.test_cli import TINY, losses

SETTINGS: dict[str, Any] = {**TINY, "train.epochs": 2, "train.checkpoint_every_steps": 3}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of 22 images in two class folders, some of them grey or not square."""
    folder = tmp_path / "photographs"
    for index, pixels in enumerate(render_scenes(np.arange(22), size_px=96).images):
        image = Image.fromarray(pixels[: 96 - 2 * index])
        image = image.convert("L") if index % 3 == 0 else image
        target = folder / f"class {index % 2}" / f"{index}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
    return folder


def train(data: Path | str, out: Path, **options: Any) -> patchwise.TrainResult:
    settings = {**SETTINGS, **options.pop("settings", {})}
    return patchwise.train(data, out=out, settings=settings, quiet=True, **options)


def test_a_folder_becomes_a_backbone_that_loads_elsewhere(
    photographs: Path, tmp_path: Path
) -> None:
    result = train(photographs, tmp_path / "run")
    assert result.complete
    assert (result.steps, result.images) == (10, 40)
    moved = tmp_path / "elsewhere.safetensors"
    shutil.move(tmp_path / "run" / "backbone.safetensors", moved)
    shutil.rmtree(tmp_path / "run")
    output = patchwise.load_backbone(moved)(torch.rand(1, 3, 48, 32))
    assert output.patches.shape == (1, 6, 16)
    assert output.grid == (3, 2)


def test_training_changes_the_backbone(photographs: Path, tmp_path: Path) -> None:
    train(photographs, tmp_path / "run")
    before, after = (
        patchwise.load_backbone(tmp_path / "run" / f"{name}.safetensors").state_dict()
        for name in ("initial", "backbone")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_results_json_is_the_result(photographs: Path, tmp_path: Path) -> None:
    result = train(photographs, tmp_path / "run", val=photographs)
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    assert content["train"] | {"out": result.out} == asdict(result)
    assert [scores["step"] for scores in result.validations] == [0, 5, 10]
    assert all(0 <= scores["knn/dino"] <= 1 for scores in result.validations)


def test_the_same_seed_gives_the_same_run_and_another_does_not(
    photographs: Path, tmp_path: Path
) -> None:
    train(photographs, tmp_path / "a")
    train(photographs, tmp_path / "b")
    train(photographs, tmp_path / "c", settings={"train.seed": 1})
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(photographs: Path, tmp_path: Path, workers: int) -> None:
    train(photographs, tmp_path / "a")
    train(photographs, tmp_path / "b", settings={"data.workers": workers})
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_images_in_memory_change_nothing(
    photographs: Path, tmp_path: Path, accumulate: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "empty.jpg").touch()
    for keep in ("none", "device"):
        settings = {**SETTINGS, "data.keep": keep, "train.accumulate": accumulate}
        patchwise.train(photographs, out=tmp_path / keep, settings=settings)
        said = capsys.readouterr().err
        assert ("keeping 23 images, " in said) == (keep == "device")
    assert losses(tmp_path / "none") == losses(tmp_path / "device")


def test_accumulation_changes_nothing_but_memory(photographs: Path, tmp_path: Path) -> None:
    """Gradients of parts add up to the gradient of the whole."""
    train(photographs, tmp_path / "a")
    train(photographs, tmp_path / "b", settings={"train.accumulate": 2})
    for (_, whole), (_, parts) in zip(losses(tmp_path / "a"), losses(tmp_path / "b"), strict=True):
        assert whole == pytest.approx(parts, rel=1e-3)


def test_a_limit_of_memory_changes_nothing_but_memory(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if computing again, two images at a time, had been found to fit."""
    limits = []

    def choose(config: RunConfig, limit_bytes: int, say: object) -> Fit:
        limits.append(limit_bytes)
        train = replace(config.train, accumulate=2, recompute=True, precision="float32")
        return Fit(replace(config, train=train), Need(2**28, 1.0))

    monkeypatch.setattr(planning, "fit_memory", choose)
    train(photographs, tmp_path / "a")
    train(photographs, tmp_path / "b", fit="1GiB")
    chosen = read_config(tmp_path / "b" / "config.toml").train
    assert (chosen.accumulate, chosen.recompute) == (2, True)
    for (_, whole), (_, parts) in zip(losses(tmp_path / "a"), losses(tmp_path / "b"), strict=True):
        assert whole == pytest.approx(parts, rel=1e-3)
    assert 2**30 - 2**20 < limits[0] < 2**30  # the images are kept besides

    train(photographs, tmp_path / "c", fit="1MiB")  # where they would be most of it
    assert read_config(tmp_path / "c" / "config.toml").data.keep == "none"
    assert limits[1] == 2**20


@pytest.mark.bad_input
def test_a_resumed_run_takes_no_new_limit(photographs: Path, tmp_path: Path) -> None:
    train(photographs, tmp_path / "run")
    with pytest.raises(ConfigError, match="fit must be left out with resume"):
        patchwise.train(photographs, out=tmp_path / "run", fit="8GiB", resume=True, quiet=True)


def test_init_begins_with_given_weights(photographs: Path, tmp_path: Path) -> None:
    train(photographs, tmp_path / "first")
    weights = tmp_path / "first" / "backbone.safetensors"
    settings = {n: v for n, v in SETTINGS.items() if not n.startswith("backbone.")}
    patchwise.train(
        photographs, out=tmp_path / "second", init=weights, settings=settings, quiet=True
    )
    given, initial = (
        patchwise.load_backbone(path)
        for path in (weights, tmp_path / "second" / "initial.safetensors")
    )
    for name, tensor in given.state_dict().items():
        torch.testing.assert_close(initial.state_dict()[name], tensor, rtol=0, atol=0)
    assert read_config(tmp_path / "second" / "config.toml").backbone.dim == 16


def test_how_images_are_normalised_stays_with_the_weights(
    photographs: Path, tmp_path: Path
) -> None:
    pixels = {"backbone.pixel_mean": [0.5, 0.25, 0], "backbone.pixel_std": [0.5, 1, 0.1]}
    own = Normalisation((0.5, 0.25, 0.0), (0.5, 1.0, 0.1))
    patchwise.train(
        photographs, out=tmp_path / "first", settings={**SETTINGS, **pixels}, quiet=True
    )
    settings = {n: v for n, v in SETTINGS.items() if not n.startswith("backbone.")}
    weights = tmp_path / "first" / "backbone.safetensors"
    patchwise.train(
        photographs, out=tmp_path / "second", init=weights, settings=settings, quiet=True
    )
    for name in ("first", "second"):
        assert patchwise.load_backbone(tmp_path / name).normalisation == own
        config = read_config(tmp_path / name / "config.toml")
        assert config.backbone.normalisation == own


@pytest.mark.parametrize("prefix", ["", "mugs:"])
@pytest.mark.parametrize("dry", [True, False])
def test_how_published_weights_were_read_is_said_before_anything_else(
    prefix: str,
    dry: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = next(family for family in FAMILIES if family.name == "Mugs").write(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "read_facts", stop)
    begin = api.forecast_training if dry else partial(patchwise.train, out=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        begin("scenes:12", init=f"{prefix}{path}")
    said = "init: weights read as Mugs' backbone; left out 'relation_blocks.*'"
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("recipe", ["small-dino", "small"])
def test_every_method_can_be_trained(photographs: Path, tmp_path: Path, recipe: str) -> None:
    assert train(photographs, tmp_path / "run", recipe=recipe).complete


def test_bf16_can_be_trained(photographs: Path, tmp_path: Path) -> None:
    assert train(photographs, tmp_path / "run", settings={"train.precision": "bf16"}).complete


def test_the_precision_is_measured_and_written_down(photographs: Path, tmp_path: Path) -> None:
    settings = {n: v for n, v in SETTINGS.items() if n != "train.precision"}
    config, cost = patchwise.forecast_training(photographs, settings=settings, quiet=True)
    assert set(cost.measured) == {"float32", "bf16"}
    assert config.train.precision == max(cost.measured, key=lambda name: cost.measured[name])
    assert cost.steps == 10
    assert cost.images == 40
    assert cost.seconds == pytest.approx(40 / cost.images_per_s)
    patchwise.train(photographs, out=tmp_path / "run", settings=settings, quiet=True)
    assert read_config(tmp_path / "run" / "config.toml").train.precision in cost.measured


def test_a_complete_run_is_not_trained_again(photographs: Path, tmp_path: Path) -> None:
    result = train(photographs, tmp_path / "run", val=photographs)
    again = patchwise.train(photographs, out=tmp_path / "run", resume=True, quiet=True)
    assert again == result


def test_a_stop_while_a_run_is_scored_is_resumable(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "score_run", stop)
        stopped = train(photographs, tmp_path / "run", val=f"classes:{photographs}")
    assert not stopped.complete
    again = patchwise.train(photographs, out=tmp_path / "run", resume=True, quiet=True)
    assert again.complete
    assert again.steps == stopped.steps
    assert is_scored(RunFolder(tmp_path / "run"))


def test_scores_are_shown_again_without_the_labelled_images(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = tmp_path / "labelled"
    shutil.copytree(photographs, labelled)
    train(photographs, tmp_path / "run", val=labelled)
    shutil.rmtree(labelled)
    patchwise.train(photographs, out=tmp_path / "run", resume=True)
    assert "after training" in capsys.readouterr().err


def test_bad_images_are_replaced_counted_and_reported(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "empty.jpg").touch()
    result = patchwise.train(photographs, out=tmp_path / "run", settings=SETTINGS)
    assert result.bad_images == {"empty": 1}
    assert "empty.jpg" in capsys.readouterr().err
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["bad_images"] == 1


@pytest.mark.bad_input
def test_too_many_bad_images_stop_the_run_and_are_named(photographs: Path, tmp_path: Path) -> None:
    for index in range(3):
        (photographs / f"broken {index}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match=r"(?s)at most 2 bad images, got 3.*broken 0.png"):
        train(photographs, tmp_path / "run", settings={"data.tolerated_bad_images": 2})


@pytest.mark.bad_input
def test_resuming_on_other_images_is_refused(photographs: Path, tmp_path: Path) -> None:
    train(photographs, tmp_path / "run")
    next(photographs.rglob("*.png")).unlink()
    with pytest.raises(CheckpointError, match=r"must be the images that the run began with \(22"):
        patchwise.train(photographs, out=tmp_path / "run", resume=True, quiet=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "options",
    [
        {"settings": {"optim.lr_per_256": 0.1}},
        {"recipe": "small"},
        {"init": "weights.safetensors"},
        {"config": "settings.toml"},
    ],
)
def test_resuming_with_what_would_change_the_run_is_refused(
    photographs: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    train(photographs, tmp_path / "run")
    before = losses(tmp_path / "run")
    name = next(iter(options.get("settings", options)))
    with pytest.raises(ConfigError, match=f"{name} must be left out with resume"):
        patchwise.train(photographs, out=tmp_path / "run", resume=True, quiet=True, **options)
    assert losses(tmp_path / "run") == before


def test_resuming_may_change_what_does_not_change_the_result(
    photographs: Path, tmp_path: Path
) -> None:
    """What the error about bad images advises can be done."""
    out = tmp_path / "run"
    train(photographs, out)
    first = losses(out)
    (out / "results.json").unlink()
    list_checkpoints(out / "checkpoints")[0].unlink()
    settings = {"data.tolerated_bad_images": 3, "data.workers": 1, "data.keep": "none"}
    result = patchwise.train(photographs, out=out, resume=True, settings=settings, quiet=True)
    assert result.complete
    assert read_config(out / "config.toml").data.tolerated_bad_images == 3
    assert losses(out) == first


def test_a_run_killed_before_its_first_step_keeps_its_weights(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(photographs, tmp_path / "first", settings={"train.seed": 3})
    weights = tmp_path / "first" / "backbone.safetensors"
    settings = {n: v for n, v in SETTINGS.items() if not n.startswith("backbone.")}

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(api, "execute", kill)
        with pytest.raises(KeyboardInterrupt):
            patchwise.train(photographs, out=out, init=weights, settings=settings, quiet=True)
    patchwise.train(photographs, out=tmp_path / "run", resume=True, quiet=True)
    initial = patchwise.load_backbone(tmp_path / "run" / "initial.safetensors").state_dict()
    for name, tensor in patchwise.load_backbone(weights).state_dict().items():
        torch.testing.assert_close(initial[name], tensor, rtol=0, atol=0)


@pytest.mark.bad_input
def test_a_filtered_backbone_is_not_continued(photographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "filtered.safetensors"
    patchwise.save_backbone(small_filtered(), path)
    message = "init must be a plain ViT for PW-Self and DINO, got .*filtered.safetensors', which h"
    with pytest.raises(ConfigError, match=message):
        patchwise.train(photographs, out=tmp_path / "run", init=path, quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.bad_input
def test_an_architecture_beside_weights_is_refused(photographs: Path, tmp_path: Path) -> None:
    train(photographs, tmp_path / "run")
    weights = tmp_path / "run" / "backbone.safetensors"
    with pytest.raises(ConfigError, match="must be left out with init"):
        train(photographs, tmp_path / "other", init=weights)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.batch": 23}, "at most the number of images, got batch 23 for 22 images"),
        ({"method.views.global_px": 65}, "must be a multiple of backbone.patch_px 16, got 65"),
        ({"train.device": "cuda"}, "must be a device of this machine, got 'cuda'"),
        ({"train.accumulate": 3}, "must be a multiple of accumulate"),
        ({"optim.warmup_epochs": 2}, "must be less than train.epochs 2, got 2; use"),
        ({"optim.lr_per_256": 1e-6}, "must be at most the peak rate"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    photographs: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    if "cuda" in settings.values() and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ConfigError, match=message):
        train(photographs, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.bad_input
def test_too_few_labelled_images_are_named_before_anything_is_written(
    photographs: Path, tmp_path: Path
) -> None:
    for path in list(photographs.rglob("*.png"))[:2]:
        path.unlink()
    with pytest.raises(DataError, match="val must hold more than 20 images to learn from, got 20"):
        train("scenes:12", tmp_path / "run", val=photographs)
    assert not (tmp_path / "run").exists()


def test_every_public_name_is_there() -> None:
    assert sorted(patchwise.__all__) == dir(patchwise)
    for name in patchwise.__all__:
        assert getattr(patchwise, name) is not None


@pytest.mark.bad_input
def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        patchwise.trane  # noqa: B018
