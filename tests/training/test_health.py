"""Runs that are spoilt on purpose, one cause at a time; each is really trained."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import ViewsConfig
from patchwise.data.source import open_source
from patchwise.training.checkpoint import list_checkpoints
from patchwise.training.folder import RunFolder
from patchwise.training.health import Diagnosis, HealthWatch, diagnose
from patchwise.training.log import read_log
from patchwise.training.plan import build_training, count_bad_images, make_plan, open_stream
from patchwise.training.run import execute, read_results
from tests.small_runs import PWSELF_CONFIG, run_config

IMAGES, STEPS, UNTIL = 640, 320, 200
HEALTHY = RunConfig(
    recipe="demo",
    data=DataConfig(workers=0),
    backbone=ViTConfig(dim=32, depth=2, heads=2, patch_px=8, image_px=32),
    method=PWSelfConfig(
        views=ViewsConfig(
            base_px=64,
            global_px=32,
            global_area_frac=(0.3, 1.0),
            local_count=1,
            local_px=16,
            local_area_frac=(0.1, 0.5),
        ),
        recolour_patches=False,
        prototypes=64,
        head_hidden_dim=64,
        bottleneck_dim=16,
        teacher_temperature=0.02,
        warmup_teacher_temperature=0.02,
        teacher_momentum=0.98,
        frozen_prototype_epochs=0.0,
        prototype_rate_scale=0.07,
        cls_weight=0.1,
    ),
    optim=OptimConfig(
        lr_per_256=0.02, warmup_epochs=0.5, weight_decay=0.04, final_weight_decay=0.04
    ),
    train=TrainConfig(epochs=4.0, batch=8, precision="float32"),
)
SPOILT: dict[str, tuple[str, dict[str, float], str]] = {
    "teacher temperature too high": (
        "teacher_temperature",
        {"teacher_temperature": 0.1, "warmup_teacher_temperature": 0.1},
        "--set method.teacher_temperature=0.02",
    ),
    "too many prototypes": (
        "too_many_prototypes",
        {"prototypes": 2048},
        "--set method.prototypes=",
    ),
    "teacher copies the student": (
        "momentum_too_low",
        {"teacher_momentum": 0.0},
        "--set method.teacher_momentum=0.9667",
    ),
    "teacher stands still": (
        "momentum_too_high",
        {"teacher_momentum": 1.0},
        "--set method.teacher_momentum=0.9667",
    ),
    "centre stands still": (
        "centre_off",
        {"centre_momentum": 1.0},
        "--set method.centre_momentum=0.9",
    ),
    "learning rate too high": (
        "learning_rate",
        {"lr_per_256": 1.0},
        "--set optim.lr_per_256=0.1",
    ),
}


def spoil(changes: dict[str, Any]) -> RunConfig:
    rate = changes.get("lr_per_256", HEALTHY.optim.lr_per_256)
    method = {name: value for name, value in changes.items() if name != "lr_per_256"}
    return replace(
        HEALTHY,
        method=replace(HEALTHY.method, **method),
        optim=replace(HEALTHY.optim, lr_per_256=rate),
    )


def found_in(config: RunConfig, *, until: int) -> tuple[list[Diagnosis], list[dict[str, Any]]]:
    """Train until a cause is named or so many steps are done."""
    plan = make_plan(config, open_source(f"scenes:{IMAGES}"), None)
    assert plan.total_steps == STEPS
    training = build_training(plan, "float32")
    stream = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
    watch, lines = HealthWatch(config, []), []
    while training.done < until:
        values = training.step(next(stream))
        if training.is_logged(training.done):
            epoch = training.done / training.steps_per_epoch
            lines.append({"step": training.done, "epoch": epoch, **values})
            found = watch.observe(lines[-1])
            if found is not None:
                return [found], lines
    return [], lines


@pytest.mark.parametrize("name", SPOILT)
def test_the_cause_is_named_first_with_its_setting_and_what_to_try(name: str) -> None:
    cause, changes, advice = SPOILT[name]
    found, _ = found_in(spoil(changes), until=UNTIL)
    assert [diagnosis.cause for diagnosis in found] == [cause]
    message = found[0].message
    assert advice in message
    assert any(f"{setting} {value:g} is too" in message for setting, value in changes.items())
    assert "nan" not in message


def test_nothing_is_said_of_a_healthy_run() -> None:
    found, lines = found_in(HEALTHY, until=STEPS)
    assert found == []
    assert len(lines) == STEPS / 10
    assert all(math.isfinite(value) for line in lines for value in line.values())


def healthy_lines(**values: Sequence[float] | float) -> list[dict[str, Any]]:
    """A made-up log of 300 of 320 steps in which nothing is wrong but ``values``."""
    usual = {
        "teacher_entropy": 0.4,
        "loss_frac": 0.7,
        "prototype_use": 0.3,
        "prototype_fill": 0.4,
        "patch_rank": 0.6,
        "teacher_distance": 0.03,
        "update": 0.001,
        "centre_offset": 3.0,
        "agreement": 0.4,
    }
    usual.update({name: value for name, value in values.items() if isinstance(value, float)})
    return [
        {"step": step, "epoch": step / 80, **{f"health/{n}": v for n, v in usual.items()}}
        for step in range(10, 310, 10)
    ]


def cause_of(config: RunConfig = HEALTHY, **values: float) -> str | None:
    found = diagnose(healthy_lines(**values), config)
    return found.cause if found else None


def test_odd_settings_without_a_symptom_raise_nothing() -> None:
    for changes in (
        {"teacher_temperature": 0.1, "warmup_teacher_temperature": 0.1},
        {"prototypes": 4096},
        {"teacher_momentum": 0.0},
        {"centre_momentum": 1.0},
        {"lr_per_256": 1.0},
    ):
        assert cause_of(spoil(changes)) is None


def test_a_teacher_that_cannot_follow_is_known_by_its_settings_alone() -> None:
    """No logged value tells it from a healthy one: see docs/health.md."""
    assert cause_of(spoil({"teacher_momentum": 1.0})) == "momentum_too_high"
    assert cause_of(spoil({"teacher_momentum": 0.996})) is None


def test_a_symptom_without_an_odd_setting_is_not_blamed_on_one() -> None:
    assert cause_of(teacher_entropy=0.99, loss_frac=1.0) == "no_progress"
    steady = spoil({"teacher_momentum": 0.99})
    assert cause_of(steady, prototype_use=0.02, centre_offset=30.0) == "collapse"
    assert cause_of(patch_rank=0.032) == "collapse"
    assert cause_of(prototype_use=0.04, prototype_fill=0.9) is None  # as many as a batch can use
    assert cause_of(loss_frac=1.01) == "no_progress"


def test_nothing_is_said_too_early() -> None:
    lines = healthy_lines(teacher_entropy=0.99, loss_frac=1.0)
    assert diagnose([], HEALTHY) is None
    first = next(n for n in range(len(lines)) if diagnose(lines[:n], HEALTHY))
    assert lines[first - 1]["step"] == 140  # 40 of warm-up and a window of 100
    long = replace(HEALTHY, train=replace(HEALTHY.train, epochs=400.0))
    assert diagnose(lines, long) is None  # a twentieth of the run is more than this


def test_other_methods_logs_have_no_diagnosis() -> None:
    lines = [{"step": step, "epoch": step / 80, "loss": 1.0} for step in range(10, 300, 10)]
    assert diagnose(lines, HEALTHY) is None


def test_each_cause_is_named_once_over_all_resumptions() -> None:
    lines = healthy_lines(teacher_entropy=0.99, loss_frac=1.0)
    watch = HealthWatch(HEALTHY, lines[:-2])
    found = watch.observe(lines[-2])
    assert found is not None
    assert watch.observe(lines[-1]) is None
    said = {"step": 290, "warning": {"cause": found.cause, "message": found.message}}
    assert HealthWatch(HEALTHY, [*lines[:-1], said]).observe(lines[-1]) is None


def test_what_follows_from_a_named_cause_is_not_named() -> None:
    lines = healthy_lines(patch_rank=0.032)
    said = {"step": 200, "warning": {"cause": "learning_rate", "message": "too high"}}
    assert HealthWatch(HEALTHY, [*lines[:-1], said]).observe(lines[-1]) is None
    said = {"step": 200, "warning": {"cause": "no_progress", "message": "unclear"}}
    assert HealthWatch(HEALTHY, [*lines[:-1], said]).observe(lines[-1]) is not None


def test_a_warning_is_printed_logged_and_in_the_results_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(epochs=40.0, log_every_steps=5, checkpoint_every_steps=115)
    method = replace(PWSELF_CONFIG, teacher_momentum=1.0, recolour_patches=False)
    config = replace(config, method=method)
    plan = make_plan(config, open_source("scenes:12"), None)
    folder = RunFolder(tmp_path / "run")
    folder.create(plan.config, {"data": "scenes:12"}, plan.initial)
    result = execute(plan, folder, validate=None, console=Console(width=1000))
    assert result.warnings
    assert result.warnings == read_results(folder).warnings
    printed = capsys.readouterr().out
    for warning in result.warnings:
        assert printed.count(warning["message"]) == 1
    logged = [line for line in read_log(folder.log) if "warning" in line]
    assert [{"step": x["step"], **x["warning"]} for x in logged] == result.warnings

    folder.results.unlink()
    list_checkpoints(folder.checkpoints)[0].unlink()
    again = execute(plan, folder, validate=None, console=Console(quiet=True))
    assert again.warnings == result.warnings
