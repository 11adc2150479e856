"""One job: what is trained goes on or begins anew, what is scored is kept."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from studies.cotap_jobs import Job
from studies.cotap_worker import do, record_path

import patchwise
from patchwise.data.synthetic import Scenes
from patchwise.errors import TrainingError
from patchwise.training.run import TrainResult
from studies import cotap_data, cotap_worker
from tests.small_runs import small_filtered, small_vit

HEALTH = {"health": {"protocol": "health/features", "settings": {"size_px": 64}}}


def values(file: str, **others: Any) -> dict[str, Any]:
    scored = {"labelled": "scenes", "images": "unseen", "scores": HEALTH}
    return {"file": file, "weights": "", **scored, **others}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cotap_data, "_HELD_OUT", Scenes(24, seed=5))
    (tmp_path / "scores").mkdir()
    (tmp_path / "runs").mkdir()
    return tmp_path


def test_weights_are_scored_whole_or_without_their_filter(out: Path) -> None:
    patchwise.save_backbone(small_filtered(), out / "f.safetensors")
    found = {}
    for part in ("whole", "vit"):
        job = Job(part, "score", values("f.safetensors", part=part))
        record = do(job, out)
        assert record is not None
        found[part] = record["scores"]
        assert record["protocols"]["health"].startswith("health/features")
    alone = patchwise.evaluate(
        small_filtered().vit, protocol="health/features", data=Scenes(24, seed=5)
    )
    assert found["vit"] == {
        "within instance": pytest.approx(alone.within_instance),  # type: ignore[union-attr]
        "within class": pytest.approx(alone.within_class),  # type: ignore[union-attr]
        "between": pytest.approx(alone.between_classes),  # type: ignore[union-attr]
    }
    assert found["whole"]["between"] != pytest.approx(found["vit"]["between"])


def test_the_base_that_is_given_is_taken(out: Path) -> None:
    patchwise.save_backbone(small_vit(), out / "base.safetensors")
    record = do(Job("base", "base", {}), out)
    sha256 = patchwise.open_subject(out / "base.safetensors").identity.sha256
    assert record == {"file": "base.safetensors", "weights": sha256}


def run_job() -> Job:
    training = {"train": "scenes:9", "recipe": "demo", "settings": {"train.seed": 4}}
    return Job("r", "run", values("base.safetensors", **training, neighbours_by="x:y"))


class FakeTraining:
    """Notes how training is asked for, and stops once."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, data: str, *, out: Path, **options: Any) -> TrainResult:
        self.calls.append({"data": data, **options})
        complete = len(self.calls) > 1
        (out / "checkpoints").mkdir(parents=True, exist_ok=True)
        (out / "checkpoints" / "step.safetensors").touch()
        (out / "config.toml").write_text("a")
        (out / "results.json").write_text(
            '{"train": {"total_steps": 5, "seconds": 1.23, "warnings": []}}'
        )
        patchwise.save_backbone(small_vit(), out / "backbone.safetensors")
        return TrainResult(str(out), complete, 5, 5, 5, 1.0, 1, 1.0, {})


def test_a_run_goes_on_and_is_scored(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = FakeTraining()
    monkeypatch.setattr(patchwise, "train", trained)
    job = run_job()
    (out / "runs" / job.key).mkdir()
    (out / "runs" / job.key / "config.toml").touch()  # stopped before its first checkpoint
    assert do(job, out) is None
    record = do(job, out)
    assert trained.calls == [
        {
            "data": "scenes:9",
            "recipe": "demo",
            "init": out / "base.safetensors",
            "neighbours_by": "x:y",
            "neighbours_cache": out / "neighbours",
            "settings": {"train.seed": 4},
        },
        {"data": "scenes:9", "resume": True},
    ]
    assert record is not None
    assert (record["steps"], record["seconds"]) == (5, 1.2)
    assert record["file"] == f"runs/{job.key}/backbone.safetensors"
    assert record["scores"].keys() == {"within instance", "within class", "between"}
    kept = (out / "scores" / f"{job.key}.json").stat().st_mtime_ns
    assert do(job, out) == record
    assert (out / "scores" / f"{job.key}.json").stat().st_mtime_ns == kept  # not scored again


def test_a_run_that_diverges_has_a_record(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any, **__: Any) -> TrainResult:
        raise TrainingError("not finite")

    monkeypatch.setattr(patchwise, "train", diverge)
    assert do(run_job(), out) == {"failed": "not finite"}


def test_steps_are_timed_without_reading() -> None:
    now = [0.0]

    def read() -> Iterator[int]:
        while True:
            now[0] += 100
            yield 0

    class Training:
        def step(self, batch: int) -> None:
            now[0] += 2

    seconds = cotap_worker._time(lambda: now[0], Training(), read(), 3)  # type: ignore[arg-type]
    assert seconds == 6


def test_speeds_are_medians_of_rounds(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = SimpleNamespace(config=SimpleNamespace(train=SimpleNamespace(device="cpu")))
    taken = iter([40.0, 1.0, 6.0, 2.0, 8.0, 3.0, 60.0, 2.0])  # cotap, control; first, three rounds
    monkeypatch.setattr(cotap_worker, "_plan", lambda values, out: planned)
    monkeypatch.setattr(cotap_worker, "_begin", lambda plan, out: (None, None))
    monkeypatch.setattr(cotap_worker, "_time", lambda *_: next(taken))
    speeds = {
        "warm_up": {"cotap": 10, "control": 1},
        "each": {"cotap": 2, "control": 4},
        "rounds": 3,
    }
    arms: dict[str, Any] = {"cotap": {}, "control": {}}
    record = do(Job("speeds", "speeds", {"arms": arms, "speeds": speeds}), out)
    assert record is not None
    assert record["step_s"] == {"cotap": 4.0, "control": 0.5}
    assert record["start_s"] == 0.0
    assert record["rounds"] == {"cotap": [3.0, 4.0, 30.0], "control": [0.5, 0.75, 0.5]}


def test_noise_does_not_touch_the_random_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    cotap_data.noise()(torch.zeros(1, 3, 16, 16))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_job_that_is_done_is_left(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run_job()
    done: list[Any] = []
    file = out / "job.json"
    file.write_text(json.dumps(asdict(job)))
    (out / "records").mkdir()
    monkeypatch.setattr(sys, "argv", ["", str(out), str(file), "1"])
    monkeypatch.setattr(cotap_worker, "stop_without", lambda parent: None)
    records = iter([None, {"did": 1}])  # it is stopped, then it comes to its end

    def note(*given: Any) -> Any:
        done.append(given)
        return next(records)

    monkeypatch.setattr(cotap_worker, "do", note)
    for _ in range(3):
        cotap_worker.main()
    assert done == 2 * [(job, out)]
    assert json.loads(record_path(out, job).read_text()) == {"did": 1}
