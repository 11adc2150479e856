"""Does CoTAP make a backbone better than going on with PW-Self for as long? Three seeds.

    python -m studies.cotap scenes --out runs/cotap [--base FILE] [--steps N] [--minutes 9]

trains a small ViT by PW-Self (or takes FILE), finds neighbours, measures what a step of either
method takes, one beside the other, tries as many settings of both on images that are not scored in
the end, trains both arms with the best of them for equally long, and CoTAP with one part after the
other left out. On photographs, laid out by `studies.sets`:

    python -m studies.cotap photographs --sets runs/sets --base runs/mix/backbone.safetensors

The tables in ``studies/cotap/`` say what is trained and scored. Stopped or killed at any moment,
the same command goes on. Results and their tables are written to ``results.json`` and ``tables.md``
of the folder as they come; with ``--publish`` to ``studies/cotap/NAME.json`` and into
``docs/cotap_study.md``, too.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

from patchwise.files import write_text
from studies.cotap_data import locate
from studies.cotap_jobs import TABLES, Job, Study, Values, jobs, read_study
from studies.cotap_results import collect, tables, write_page
from studies.cotap_worker import BASE, record_path

_POLL_S, _LAST_START_S, _GRACE_S = 0.2, 20.0, 120.0


class Workers:
    """Processes that do jobs, and what was done by those of earlier calls."""

    command: Sequence[str] = ("-m", "studies.cotap_worker")

    def __init__(self, out: Path) -> None:
        self.out = out
        self.failed: set[str] = set()
        self._running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
        for name in ("jobs", "logs", "records", "scores", "runs"):
            (out / name).mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self._running)

    def record(self, job: Job) -> Values | None:
        """Return what a job came to, if it is done."""
        path = record_path(self.out, job)
        found: Values | None = json.loads(path.read_text("utf-8")) if path.exists() else None
        return found

    def wants(self, job: Job) -> bool:
        """Tell whether a job is neither done nor running nor broken."""
        return job.key not in self.failed | self._running.keys() and self.record(job) is None

    def start(self, job: Job) -> None:
        """Start a job in a process of its own, of one thread on a CPU."""
        file = self.out / "jobs" / f"{job.key}.json"
        write_text(file, json.dumps(asdict(job), indent=1) + "\n")
        with (self.out / "logs" / f"{job.key}.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *self.command, str(self.out), str(file), str(os.getpid())],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C is for the parent, which asks its children to stop
            )
        self._running[job.key] = job, process
        print(f"{time.strftime('%H:%M:%S')} {job.name}", flush=True)

    def collect(self) -> bool:
        """Take note of the processes that have ended; tell whether there are any."""
        ended = [key for key, (_, process) in self._running.items() if process.poll() is not None]
        for key in ended:
            job, _ = self._running.pop(key)
            if self.record(job) is None:
                self.failed.add(key)
                print(f"{job.name} failed: see {self.out / 'logs' / key}.txt", flush=True)
        return bool(ended)

    def stop(self) -> None:
        """Ask all processes to stop, and wait until they have."""
        for _, process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for _, process in self._running.values():
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def drive(study: Study, workers: Workers, *, at_once: int, until: float) -> bool:
    """Do jobs until there are none left or it is ``until``; tell whether all are done."""
    try:
        while True:
            named = list(jobs(study, workers.record))
            wanted = [job for job in named if workers.wants(job)]
            late = time.monotonic() > until - _LAST_START_S
            for job in [] if late else wanted[: at_once - len(workers)]:
                workers.start(job)
            if not workers:
                return not (late and wanted) and not workers.failed
            while not workers.collect():
                if time.monotonic() > until:
                    return False
                time.sleep(_POLL_S)
            write_results(study, workers)
    finally:
        workers.stop()


def write_results(study: Study, workers: Workers) -> Values:
    """Write what is known so far, and its tables, into the folder; return it."""
    found = collect(study, workers.record)
    write_text(workers.out / "results.json", _as_text(found))
    write_text(workers.out / "tables.md", tables(found))
    return found


def publish(name: str, found: Values) -> None:
    """Write results to where they are kept, and their tables into the page."""
    write_text(TABLES / f"{name}.json", _as_text(found))
    write_page(name, found)


def take_base(file: Path, out: Path) -> None:
    """Copy the weights to begin with; refuse others than an earlier call took."""
    taken = out / BASE
    if taken.exists() and taken.read_bytes() != file.read_bytes():
        raise SystemExit(f"{out} was begun with other weights than {file}; choose another --out")
    if not taken.exists():
        shutil.copyfile(file, taken.with_suffix(".partial"))
        taken.with_suffix(".partial").replace(taken)


def main() -> None:
    """Do what is not done yet, as long as there is time."""
    options = _parse()
    began = time.monotonic()
    out: Path = options.out.resolve()
    workers = Workers(out)
    signal.signal(signal.SIGTERM, _interrupt)
    with (out / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{out} is in use by another call") from None
        if options.base is not None:
            take_base(options.base, out)
        study = _study(options)
        until = began + 60 * options.minutes
        complete = drive(study, workers, at_once=options.jobs, until=until)
        found = write_results(study, workers)
    if options.publish:
        publish(study.name, found)
    print(tables(found))
    if not complete:
        broken = "some jobs failed" if workers.failed else "stopped"
        raise SystemExit(f"{broken}; call again to go on")


def _study(options: argparse.Namespace) -> Study:
    given: dict[str, Any] = {"steps": options.steps, "seeds": options.seeds}
    study = read_study(
        TABLES / f"{options.name}.toml", **{k: v for k, v in given.items() if v is not None}
    )
    study.common["train.device"] = options.device
    return replace(
        study,
        train=locate(study.train, options.sets),
        labelled=locate(study.labelled, options.sets),
    )


def _as_text(found: Values) -> str:
    return json.dumps(found, indent=1) + "\n"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m studies.cotap")
    add = parser.add_argument
    names = sorted(path.stem for path in TABLES.glob("*.toml"))
    add("name", choices=names, help="which tables")
    add("--out", type=Path, required=True, help="folder of runs and records")
    add("--base", type=Path, help="weights that both arms begin with")
    add("--sets", type=Path, default=Path("runs/sets"), help="folder of `studies.sets`")
    add("--steps", type=int, help="of CoTAP; by default those of the table")
    add("--seeds", type=int, nargs="+", help="of the runs that are compared")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--jobs", type=int, default=2, help="runs at a time")
    add("--minutes", type=float, default=float("inf"), help="after which this call ends")
    add("--publish", action="store_true", help="write results and page of the repository")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped; call again to go on") from None
