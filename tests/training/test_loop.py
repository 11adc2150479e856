"""One step of training, and the loop around it."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from patchwise.configs.run import RunConfig
from patchwise.errors import TrainingError
from patchwise.methods import build_method
from patchwise.methods.headed import HeadedBackbone
from patchwise.methods.method import Batch, StepLoss
from patchwise.methods.pwself import PWSelf
from patchwise.training.checkpoint import list_checkpoints
from patchwise.training.engine import build_fabric
from patchwise.training.interrupt import StopRequest
from patchwise.training.log import RunLog, read_log
from patchwise.training.loop import Observers, Saving, Training, fit
from patchwise.training.optim import build_optimizer
from patchwise.training.progress import ProgressDisplay
from tests.small_runs import PWSELF_CONFIG, run_config, scene_batch, small_vit


def build(config: RunConfig | None = None, *, total: int = 6) -> Training:
    config = config or run_config()
    backbone = small_vit()
    torch.manual_seed(1)
    method = build_method(backbone, config.method)
    return Training(
        method=method,
        optimizer=build_optimizer(method.parameter_groups()),
        config=config,
        total_steps=total,
        steps_per_epoch=3,
        fabric=build_fabric("cpu", "float32"),
    )


def student_of(training: Training) -> HeadedBackbone:
    assert isinstance(training.method, PWSelf)
    return training.method.student


def stream(start: int = 0) -> Iterator[Batch]:
    step = start
    while True:
        epoch, position = divmod(step, 3)
        yield scene_batch(*range(4 * position, 4 * position + 4), epoch=epoch)
        step += 1


def run(training: Training, folder: Path, **observers: Any) -> bool:
    with (
        RunLog(folder, step=training.done) as log,
        observers.pop("stop", StopRequest()) as stop,
        ProgressDisplay(Console(quiet=True), done=0, total=training.total_steps) as display,
    ):
        watching = Observers(log, display, stop, {}, **observers)
        saving = Saving(folder / "checkpoints", lambda _: None)
        return fit(training, stream(training.done), watching, saving, until=training.total_steps)


def test_a_step_moves_student_teacher_and_centre() -> None:
    training = build()
    training.step(next(stream()))  # the first step of the warm-up has rate 0
    before = copy.deepcopy(training.method.state_dict())
    training.step(next(stream()))
    after = training.method.state_dict()
    for part in ("student.backbone.pos_embed", "student.head.prototypes", "centre"):
        assert not torch.equal(before[part], after[part]), part
    assert training.done == 2


def test_a_step_does_not_depend_on_torchs_generator() -> None:
    """Stochastic depth draws from it, and the step seeds it."""
    config = run_config()
    losses = []
    for seed in (5, 6):
        training = build(config)
        student_of(training).backbone.train()
        torch.manual_seed(seed)
        losses.append(training.step(next(stream()))["loss"])
    assert losses[0] == losses[1]


def test_the_accumulated_gradient_is_that_of_the_whole_batch() -> None:
    gradients = []
    for parts in (1, 2, 4):
        training = build(run_config(accumulate=parts))
        training.step(next(stream()))
        gradients.append([p.grad for p in student_of(training).parameters()])
    for other in gradients[1:]:
        for whole, part in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-3, atol=1e-5)


def test_the_logged_loss_is_that_of_the_whole_batch() -> None:
    losses = [build(run_config(accumulate=p)).step(next(stream()))["loss"] for p in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_health_is_logged_where_a_line_is_and_does_not_depend_on_the_parts() -> None:
    found = []
    for parts in (1, 2):
        training = build(run_config(accumulate=parts, log_every_steps=4))
        found.append([training.step(values) for values, _ in zip(stream(), range(6), strict=False)])
    for steps in found:
        told = [any(name.startswith("health/") for name in values) for values in steps]
        assert told == [False, False, False, True, False, True]  # every fourth, and the last
    whole, parted = (steps[-1] for steps in found)
    assert parted["health/loss_frac"] == pytest.approx(parted["loss"] / math.log(24))
    for name in ("loss_frac", "teacher_distance", "teacher_entropy", "update"):
        assert parted[f"health/{name}"] == pytest.approx(whole[f"health/{name}"], rel=0.1)


def test_watching_changes_no_training() -> None:
    ends = []
    for every in (1, 6):
        training = build(run_config(log_every_steps=every))
        batches = stream()
        for _ in range(6):
            training.step(next(batches))
        ends.append(training.method.state_dict())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_frozen_prototypes_do_not_move() -> None:
    config = run_config()
    config = replace(config, method=replace(PWSELF_CONFIG, frozen_prototype_epochs=1.0))
    training = build(config)
    before = student_of(training).head.prototypes.clone()
    batches = stream()
    for _ in range(3):
        training.step(next(batches))
    assert torch.equal(student_of(training).head.prototypes, before)
    training.step(next(batches))
    assert not torch.equal(student_of(training).head.prototypes, before)


def test_every_step_is_logged_and_the_last_is_saved(tmp_path: Path) -> None:
    training = build()
    assert run(training, tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "lr", "weight_decay", "gradient_norm", "epoch", "bad_images"} <= lines[0].keys()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == [
        "step-000000006.safetensors",
        "step-000000003.safetensors",
    ]
    assert training.seconds > 0


def test_validation_comes_every_n_epochs_and_at_the_end(tmp_path: Path) -> None:
    training = build(run_config(val_every_epochs=1.0), total=8)
    run(training, tmp_path, validate=lambda _: {"score": 0.5})
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines if "val/score" in line] == [3, 6, 8]


def test_validation_does_not_change_training(tmp_path: Path) -> None:
    def disturb(_: object) -> dict[str, float]:
        return {"score": float(torch.rand(3).sum())}

    losses = []
    for name, validate in {"with": disturb, "without": None}.items():
        folder = tmp_path / name
        folder.mkdir()
        run(build(run_config(val_every_epochs=1 / 3)), folder, validate=validate)
        losses.append([x["loss"] for x in read_log(folder / "log.jsonl") if "loss" in x])
    assert losses[0] == losses[1]


def test_a_stop_request_ends_after_the_step_in_hand_with_a_checkpoint(tmp_path: Path) -> None:
    stop = StopRequest()

    def request(_: object) -> dict[str, float]:
        stop.received = 2  # type: ignore[assignment]
        return {}

    training = build(run_config(val_every_epochs=2 / 3))
    assert not run(training, tmp_path, stop=stop, validate=request)
    assert training.done == 2
    assert list_checkpoints(tmp_path / "checkpoints")[0].name == "step-000000002.safetensors"


@pytest.mark.bad_input
def test_a_loss_that_is_no_number_stops_before_the_weights_change() -> None:
    training = build()
    training.step(next(stream()))
    losses = training.method.losses

    def broken(views: Any, step: Any) -> Iterator[StepLoss[Any]]:
        for loss in losses(views, step):
            broken = {name: value * math.nan for name, value in loss.parts.items()}
            yield StepLoss(loss.total * math.nan, broken)

    training.method.losses = broken  # type: ignore[method-assign]
    before = copy.deepcopy(training.method.state_dict())
    with pytest.raises(TrainingError, match=r"loss must be a finite number, got nan at step 1"):
        training.step(next(stream()))
    torch.testing.assert_close(training.method.state_dict(), before, rtol=0, atol=0)
