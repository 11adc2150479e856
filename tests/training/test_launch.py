"""Several processes from one command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patchwise.api.training import train
from patchwise.errors import ConfigError
from patchwise.models.weights import load_backbone
from patchwise.training.launch import several
from patchwise.training.log import read_log
from tests.training.parallel import TIMEOUT_S

STOPPED = 75
SETTINGS = {
    "train.batch": 4,
    "train.epochs": 15,
    "train.precision": "float32",
    "train.log_every_steps": 1,
    "data.workers": 0,
    "backbone.dim": 32,
    "backbone.depth": 2,
    "backbone.heads": 2,
    "method.prototypes": 24,
    "method.head_hidden_dim": 32,
    "method.bottleneck_dim": 16,
}


def stop_one_of_two(out: Path) -> subprocess.CompletedProcess[str]:
    """Begin a run of two processes, and ask the second one to stop after some steps."""
    options = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    begun = subprocess.Popen(
        [
            *(sys.executable, "-m", "patchwise", "train", "scenes:12", "--out", str(out)),
            *("--processes", "2", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    log = out / "log.jsonl"
    until = time.monotonic() + TIMEOUT_S
    while not (log.exists() and log.read_text().count("\n") >= 3) and begun.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    other = Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()[0]
    os.kill(int(other), signal.SIGTERM)
    try:
        said, warned = begun.communicate(timeout=TIMEOUT_S)
    finally:
        begun.kill()
    assert not Path(f"/proc/{other}").exists()
    return subprocess.CompletedProcess([], begun.returncode, said, warned)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds children in /proc")
def test_two_stop_together_and_one_goes_on(tmp_path: Path) -> None:
    done = stop_one_of_two(tmp_path / "run")
    assert done.returncode == STOPPED, done.stderr
    steps = [line["step"] for line in read_log(tmp_path / "run/log.jsonl")]
    assert steps == [*range(1, len(steps) + 1)]
    assert len(steps) < 45
    assert f"stopped after step {len(steps)} of 45" in done.stderr
    assert done.stderr.count("--resume --processes 2") == 1
    assert done.stderr.count("recipe small") == 1

    again = train("scenes:12", out=tmp_path / "run", resume=True, quiet=True)
    whole = train("scenes:12", out=tmp_path / "whole", settings=SETTINGS, quiet=True)
    assert again.complete
    assert again.loss == pytest.approx(whole.loss, rel=1e-4)
    first, second = (
        load_backbone(tmp_path / name / "backbone.safetensors").state_dict()
        for name in ("run", "whole")
    )
    for name, tensor in first.items():
        assert float((tensor - second[name]).norm()) <= 1e-3 * float(second[name].norm()), name
    assert [line["step"] for line in read_log(tmp_path / "run/log.jsonl")] == [*range(1, 46)]


def test_one_process_starts_none() -> None:
    before = dict(os.environ)
    with several(1, ["no such command"]) as processes:
        assert processes.size == 1
    assert dict(os.environ) == before


@pytest.mark.bad_input
def test_another_number_than_was_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with (
        pytest.raises(ConfigError, match=r"^train: processes must be left out .*, got 2 in .* 3"),
        several(2, ["no such command"]),
    ):
        pass
