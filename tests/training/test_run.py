"""A run in its folder: begun, gone on with, ended."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from patchwise.data.source import open_source
from patchwise.errors import CheckpointError
from patchwise.models.weights import load_backbone
from patchwise.training.checkpoint import list_checkpoints
from patchwise.training.folder import RunFolder
from patchwise.training.log import read_log
from patchwise.training.plan import Plan, make_plan
from patchwise.training.run import TrainResult, execute, read_results
from tests.small_runs import run_config

QUIET = Console(quiet=True)


def new_run(path: Path) -> tuple[Plan, RunFolder]:
    plan = make_plan(run_config(), open_source("scenes:12"), None)
    folder = RunFolder(path)
    folder.create(plan.config, {"data": "scenes:12"}, plan.initial)
    return plan, folder


def run(plan: Plan, folder: RunFolder) -> TrainResult:
    return execute(plan, folder, validate=lambda _: {"score": 0.25}, console=QUIET)


def losses(folder: RunFolder) -> list[float]:
    return [line["loss"] for line in read_log(folder.log) if "loss" in line]


def forget_the_end(folder: RunFolder) -> None:
    """Make a complete run look as if it had been killed after its first checkpoint, step 3."""
    folder.results.unlink()
    list_checkpoints(folder.checkpoints)[0].unlink()


def test_a_complete_run_has_results_that_read_back(tmp_path: Path) -> None:
    plan, folder = new_run(tmp_path / "run")
    result = run(plan, folder)
    assert result.complete
    assert result.steps == result.total_steps == 6
    assert result.validations == [{"step": 0, "score": 0.25}, {"step": 6, "score": 0.25}]
    assert read_results(folder) == result


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    plan, folder = new_run(tmp_path / "run")
    whole = run(plan, folder)
    first, weights = losses(folder), folder.backbone.read_bytes()
    forget_the_end(folder)
    again = run(plan, folder)
    assert losses(folder) == first
    assert folder.backbone.read_bytes() == weights
    assert (again.steps, again.loss) == (whole.steps, whole.loss)
    assert again.validations == whole.validations


def test_a_damaged_checkpoint_is_passed_over_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, folder = new_run(tmp_path / "run")
    run(plan, folder)
    first = losses(folder)
    folder.results.unlink()
    newest = list_checkpoints(folder.checkpoints)[0]
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    execute(plan, folder, validate=None, console=Console(width=500))
    assert "passing over a checkpoint" in capsys.readouterr().out
    assert losses(folder) == first


def test_weights_before_training_are_kept(tmp_path: Path) -> None:
    plan, folder = new_run(tmp_path / "run")
    run(plan, folder)
    for name, tensor in load_backbone(folder.initial).state_dict().items():
        torch.testing.assert_close(tensor, plan.initial.state_dict()[name], rtol=0, atol=0)


@pytest.mark.bad_input
def test_only_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    plan, folder = new_run(tmp_path / "run")
    run(plan, folder)
    for path in list_checkpoints(folder.checkpoints):
        path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="must hold an undamaged checkpoint, got 2 damaged"):
        run(plan, folder)
