"""One job of the study of CoTAP, in a process of its own: `studies.cotap` starts it.

    python -m studies.cotap_worker OUT JOB.json PID

It goes on where an earlier process was stopped, and writes its record when it is done. It stops
when its parent, PID, is gone.
"""

import fcntl
import hashlib
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.measuring import machine
from rich.console import Console

import patchwise
from patchwise.api.nearby import find_nearby
from patchwise.api.planning import Images, Request, new_plan
from patchwise.data.source import open_source
from patchwise.data.synthetic import Scenes
from patchwise.errors import TrainingError
from patchwise.eval.presets import PROTOCOLS
from patchwise.eval.results import ClassificationResult, HealthResult, Result, SegmentationResult
from patchwise.features.subject import Subject
from patchwise.files import write_text
from patchwise.models.filtered_vit import FilteredViT
from patchwise.training.engine import Precision
from patchwise.training.loop import Stream, Training
from patchwise.training.plan import Plan, build_training, count_bad_images, open_stream
from studies.cotap_data import health_data, tuning_data, unseen_data
from studies.cotap_jobs import ARMS, Job, Values
from studies.cotap_truth import knowing
from studies.orphans import stop_without

NEIGHBOURS, BASE = "neighbours", "base.safetensors"


def record_path(out: Path, job: Job) -> Path:
    """Return the file that is there once a job is done."""
    return out / "records" / f"{job.key}.json"


def do(job: Job, out: Path) -> Values | None:
    """Do a job; return its record, or None if it was stopped."""
    return _DOING[job.kind](job, out)


def make_base(job: Job, out: Path) -> Values | None:
    """Train the weights that both arms begin with, where none are given."""
    values, file = job.values, out / BASE
    if not file.exists():
        folder = out / "runs" / job.key
        if not _train(folder, values, init=None):
            return None
        shutil.copyfile(folder / "backbone.safetensors", file.with_suffix(".partial"))
        file.with_suffix(".partial").replace(file)
    return {"file": BASE, "weights": _weights_sha256(file)}


def find_neighbours(job: Job, out: Path) -> Values:
    """Find the neighbours that CoTAP's runs share, and time it, from nothing."""
    place, unfinished = out / NEIGHBOURS, out / f"{NEIGHBOURS}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    plan = _plan(job.values, out)
    clock = _clock(plan)
    start = clock()
    find_nearby(plan, by=None, cache=unfinished, say=print)
    seconds = clock() - start
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)
    return {"seconds": round(seconds, 2)}


def measure_speeds(job: Job, out: Path) -> Values:
    """Time steps of both arms in turn: medians over rounds. Reading of images is not timed."""
    wanted = job.values["speeds"]
    plans = {arm: _plan(job.values["arms"][arm], out) for arm in ARMS}
    clock = _clock(plans["cotap"])
    begun = {arm: _begin(plan, out) for arm, plan in plans.items()}
    first = {arm: _time(clock, *begun[arm], wanted["warm_up"][arm]) for arm in ARMS}
    rounds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(wanted["rounds"]):
        for arm in ARMS:
            number = wanted["each"][arm]
            rounds[arm].append(round(_time(clock, *begun[arm], number) / number, 4))
    seconds = {arm: statistics.median(taken) for arm, taken in rounds.items()}
    on_gpu = plans["cotap"].config.train.device == "cuda"
    return {
        "step_s": seconds,
        "start_s": round(first["cotap"] - wanted["warm_up"]["cotap"] * seconds["cotap"], 2),
        "rounds": rounds,
        "clock": "wall" if on_gpu else "processor",
        "machine": torch.cuda.get_device_name() if on_gpu else machine(),
    }


def run(job: Job, out: Path) -> Values | None:
    """Train, and score what came of it; a run that diverges has a record, too."""
    folder = out / "runs" / job.key
    init, shared = out / job.values["file"], out / NEIGHBOURS
    source = open_source(job.values["train"])
    scenes = source if isinstance(source, Scenes) else None
    try:
        with knowing(job.values.get("truth"), scenes):
            if not _train(folder, job.values, init=init, shared=shared):
                return None
    except TrainingError as error:
        return {"failed": str(error)}
    trained = json.loads((folder / "results.json").read_text(encoding="utf-8"))["train"]
    file = folder / "backbone.safetensors"
    return {
        "file": str(file.relative_to(out)),
        "weights": _weights_sha256(file),
        "config": hashlib.sha256((folder / "config.toml").read_bytes()).hexdigest(),
        "steps": trained["total_steps"],
        "seconds": round(trained["seconds"], 1),
        "warnings": [warning["message"] for warning in trained["warnings"]],
        **_score(patchwise.open_subject(file), job, out),
    }


def score(job: Job, out: Path) -> Values:
    """Score weights that are there."""
    backbone = patchwise.load_backbone(out / job.values["file"])
    if job.values["part"] == "vit" and isinstance(backbone, FilteredViT):
        backbone = backbone.vit
    return _score(patchwise.open_subject(backbone, name=job.name), job, out)


_DOING: dict[str, Callable[[Job, Path], Values | None]] = {
    "base": make_base,
    "neighbours": find_neighbours,
    "speeds": measure_speeds,
    "run": run,
    "score": score,
}


def _train(folder: Path, values: Values, *, init: Path | None, shared: Path | None = None) -> bool:
    """Train, or go on training; tell whether the run is complete."""
    if folder.exists() and not list(folder.glob("checkpoints/*.safetensors")):
        shutil.rmtree(folder)  # it was stopped before there was anything to go on from
    if folder.exists():
        return patchwise.train(values["train"], out=folder, resume=True).complete
    return patchwise.train(
        values["train"],
        out=folder,
        recipe=values["recipe"],
        init=init,
        neighbours_by=values.get("neighbours_by"),
        neighbours_cache=shared,
        settings=values["settings"],
    ).complete


def _score(subject: Subject, job: Job, out: Path) -> Values:
    """Return scores by name, and what stands behind them; each is kept as soon as it is there."""
    scores: Values = {}
    protocols: dict[str, str] = {}
    for name, wanted in job.values["scores"].items():
        (result,) = patchwise.evaluate_many(
            subject,
            protocols=[wanted["protocol"]],
            data=_data(job.values, wanted["protocol"]),
            settings=wanted.get("settings"),
            out=out / "scores" / f"{job.key}.json",
        )
        scores |= _numbers(name, result)
        protocols[name] = result.fingerprint.protocol
    return {"scores": scores, "protocols": protocols, "packages": result.fingerprint.packages}


def _data(values: Values, protocol: str) -> Any:  # noqa: ANN401 - what `evaluate` takes
    if PROTOCOLS[protocol].kind == "images":
        return health_data(values["labelled"])
    return {"unseen": unseen_data, "tuning": tuning_data}[values["images"]](values["labelled"])


def _numbers(name: str, result: Result) -> Values:
    if isinstance(result, HealthResult):
        distances = (result.within_instance, result.within_class, result.between_classes)
        return dict(zip(("within instance", "within class", "between"), distances, strict=True))
    assert isinstance(result, (ClassificationResult, SegmentationResult))
    value = result.miou if isinstance(result, SegmentationResult) else result.accuracy
    interval = result.interval
    spread = {} if interval is None else {f"{name} interval": [interval.low, interval.high]}
    return {name: value, **spread}


def _plan(values: Values, out: Path) -> Plan:
    wanted = Request(values["recipe"], out / values["file"], values["settings"])
    return new_plan(Images.open(values["train"], None), wanted, Console(stderr=True))


def _begin(plan: Plan, out: Path) -> tuple[Training, Stream]:
    """Return a training and its batches."""
    found = find_nearby(plan, by=None, cache=out / NEIGHBOURS, say=print)
    plan = replace(plan, neighbours={name: nearby.ids for name, nearby in found.items()})
    precision: Precision = plan.config.train.precision or "float32"
    training = build_training(plan, precision)
    training.total_steps = max(training.total_steps, 10_000)  # none of them is the last one
    return training, open_stream(plan, count_bad_images(plan), start_step=0, say=print)


def _time(
    clock: Callable[[], float], training: Training, stream: Iterator[Any], number: int
) -> float:
    """Return the seconds of some steps, without those of reading their images."""
    seconds = 0.0
    for _ in range(number):
        batch = next(stream)
        start = clock()
        training.step(batch)
        seconds += clock() - start
    return seconds


def _clock(plan: Plan) -> Callable[[], float]:
    """Return what tells seconds: on a CPU other programs may run beside it."""
    if plan.config.train.device == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def _weights_sha256(file: Path) -> str:
    digest = patchwise.open_subject(file).identity.sha256
    assert digest is not None, "weights in a file can be told apart"
    return digest


def main() -> None:
    """Do the job of the command line."""
    out, file, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    stop_without(parent)
    job = Job(**json.loads(file.read_text(encoding="utf-8")))
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # an earlier process may still be stopping
        found = None if record_path(out, job).exists() else do(job, out)
    if found is not None:
        write_text(record_path(out, job), json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
