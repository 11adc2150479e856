"""What a run says about itself, read from its folder."""

import json
import shutil
from pathlib import Path

import pytest

import patchwise
from patchwise.api.runs import open_run
from patchwise.errors import DataError
from patchwise.eval.results import RunHealthResult
from patchwise.training.log import read_log
from tests.test_cli import TINY


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mine"
    patchwise.train("scenes:12", out=out, settings={**TINY, "train.epochs": 1})
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "mine"))


def test_a_log_is_read_and_the_run_identified(run: Path) -> None:
    record = open_run(run)
    assert record.name == "mine"
    assert list(record.lines) == read_log(run / "log.jsonl")
    assert (record.cause, record.message) == (None, None)
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps({"step": 4, "loss": 1.0}) + "\n")
    longer = open_run(run)
    (run / "config.toml").write_text((run / "config.toml").read_text() + "\n")
    assert len({record.fingerprint(), longer.fingerprint(), open_run(run).fingerprint()}) == 3


def test_causes_are_those_of_the_log(run: Path) -> None:
    with (run / "log.jsonl").open("a") as file:
        for cause in ("no_progress", "collapse"):
            warning = {"cause": cause, "message": f"why {cause}"}
            file.write(json.dumps({"step": 3, "warning": warning}) + "\n")
    record = open_run(run)
    assert (record.cause, record.message) == ("collapse", "why collapse")


def test_what_is_seen_at_the_end_comes_before_the_log(run: Path) -> None:
    """Values as of a run whose weights change much too fast."""
    last = next(line for line in reversed(read_log(run / "log.jsonl")) if "loss" in line)
    last |= {"health/update": 0.5, "health/teacher_distance": 0.9}
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3, "warning": {"cause": "x", "message": "y"}}) + "\n")
        for step in range(10, 1001, 10):
            file.write(json.dumps({**last, "step": step, "epoch": step / 3}) + "\n")
    assert open_run(run).cause == "learning_rate"


def test_the_protocol_takes_a_folder_as_model_or_as_data(run: Path) -> None:
    first = patchwise.evaluate(run, protocol="health/run")
    assert isinstance(first, RunHealthResult)
    assert first.steps == 3
    assert first.fingerprint.model.name == "mine/backbone.safetensors"
    weights = run / "backbone.safetensors"
    second = patchwise.evaluate(weights, protocol="health/run", data=run)
    assert second.fingerprint.protocol == first.fingerprint.protocol


@pytest.mark.bad_input
def test_what_is_no_run_is_refused(run: Path) -> None:
    with pytest.raises(DataError, match="run must be the folder of a run"):
        open_run(run / "checkpoints")
    (run / "log.jsonl").write_text("{")
    with pytest.raises(DataError, match="must be a readable log"):
        open_run(run)
    with pytest.raises(DataError, match="data must have the log of a run, got int"):
        patchwise.evaluate(run, protocol="health/run", data=3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="data must name images for health/dense, got None"):
        patchwise.evaluate(run, protocol="health/dense")
