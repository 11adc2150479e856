"""A run: started in an empty folder or resumed, and brought to its end or to a stop."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from rich.console import Console

from patchwise.data.bad_images import BadImages
from patchwise.data.reader import NearestIds
from patchwise.environment import peak_bytes
from patchwise.errors import CheckpointError
from patchwise.files import remove_leftovers, write_text
from patchwise.models.backbone import Backbone
from patchwise.models.weights import save_backbone
from patchwise.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    unpack_state,
)
from patchwise.training.folder import RunFolder, read_json
from patchwise.training.interrupt import StopRequest
from patchwise.training.log import NoLog, RunLog, read_log
from patchwise.training.loop import Observers, Saving, Training, fit, log_scores
from patchwise.training.plan import (
    Plan,
    build_training,
    count_bad_images,
    find_residences,
    open_stream,
)
from patchwise.training.processes import here
from patchwise.training.progress import ProgressDisplay

Validate = Callable[[Backbone], dict[str, float]]
Refresh = Callable[[int, Backbone | None], Mapping[str, NearestIds]]
RESULTS_FORMAT = 1
BEFORE_ANY = -1  # the step of a log that begins anew


@dataclass(frozen=True)
class TrainResult:
    """What a run came to. ``results.json`` holds the same."""

    out: str  # the run's folder
    complete: bool  # False: stopped on request; `--resume` goes on
    steps: int  # optimiser steps that are done
    total_steps: int
    images: int  # trained on, with repeats
    seconds: float  # in training steps, over all resumptions
    peak_bytes: int  # most memory of the first process, or its GPU, since the last resumption
    loss: float | None  # of the last logged step
    bad_images: dict[str, int]  # files that could not be used, by reason
    validations: list[dict[str, float]] = field(default_factory=list)  # each with its step
    warnings: list[dict[str, Any]] = field(default_factory=list)  # step, cause and message of each


def execute(
    plan: Plan,
    folder: RunFolder,
    *,
    validate: Validate | None,
    refresh: Refresh | None = None,
    console: Console,
) -> TrainResult:
    """Train a plan in its folder from the newest checkpoint there, or from the beginning.

    Of several processes the first writes; all read checkpoints, and return the same.

    Args:
        plan: With its precision resolved.
        folder: Already created.
        validate: Scores a backbone; called before, during and after training.
        refresh: Returns the neighbours from a step on, by the backbone of that step in eval mode.
            Called whenever `Plan.refresh_steps` are done; and when a run goes on after that step,
            then without a backbone: it has been called before. None: neighbours stay the plan's.
        console: Where progress is shown.
    """
    precision = plan.config.train.precision
    assert precision is not None, "a plan is forecast before it is executed"
    with _taken(folder):
        training = build_training(plan, precision)
        bad_images = count_bad_images(plan)
        restore(training, bad_images, folder, console)
        with (
            _open_log(folder, step=training.done or BEFORE_ANY) as log,
            StopRequest() as stop,
            ProgressDisplay(console, done=training.done, total=training.total_steps) as display,
        ):
            observers = Observers(log, display, stop, bad_images, validate)
            if training.done == 0:
                log_scores(training, observers)
            export = functools.partial(save_backbone, path=folder.backbone)
            saving = Saving(folder.checkpoints, export)
            complete = False
            residences = find_residences(plan, console.print)
            for now, until in _stretches(plan, training, refresh, observers):
                stream = open_stream(
                    now,
                    bad_images,
                    start_step=training.done,
                    say=console.print,
                    residences=residences,
                )
                with closing(stream):
                    complete = fit(training, stream, observers, saving, until=until)
                if not complete:
                    break
        summary = functools.partial(summarise, training, bad_images, folder)
        result = TrainResult(**here().from_first(lambda: asdict(summary())))
        if complete:
            here().on_first(lambda: write_results(result, folder))
    return result


def _stretches(
    plan: Plan, training: Training, refresh: Refresh | None, observers: Observers
) -> Iterator[tuple[Plan, int]]:
    """Yield what to train and until which step, from where the training is on.

    No neighbours are found for a run that is at its end, or asked to stop.
    """
    every = plan.refresh_steps if refresh is not None else 0
    while True:
        begun = training.done // every * every if every else 0
        until = min(training.total_steps, begun + every) if every else training.total_steps
        now = plan
        idle = training.done == training.total_steps or observers.stopped()
        if refresh is not None and begun and not idle:
            training.method.eval()
            backbone = training.method.backbone if begun == training.done else None
            now = replace(plan, neighbours=refresh(begun, backbone))
        yield now, until
        if training.done == training.total_steps:
            return


def restore(
    training: Training,
    bad_images: Mapping[str, BadImages],
    folder: RunFolder,
    console: Console,
) -> None:
    """Put a training where its newest undamaged checkpoint is; leave it at step 0 without one."""
    checkpoint = _newest(folder, console)
    _require_one_step(None if checkpoint is None else checkpoint.step, folder)
    if checkpoint is None:
        return
    unpack_state(checkpoint.tensors, training.method, training.optimizer)
    training.done = checkpoint.step
    training.seconds = checkpoint.facts["seconds"]
    for name, state in checkpoint.facts["bad_images"].items():
        bad_images[name].restore(state)


def summarise(
    training: Training, bad_images: Mapping[str, BadImages], folder: RunFolder
) -> TrainResult:
    """Return what the run came to so far."""
    lines = read_log(folder.log)
    counts: Counter[str] = Counter()
    for found in dict.fromkeys(bad_images.values()):  # inputs may share one
        counts.update(found.counts)
    losses = [line["loss"] for line in lines if "loss" in line]
    return TrainResult(
        out=str(folder.path),
        complete=training.done == training.total_steps,
        steps=training.done,
        total_steps=training.total_steps,
        images=training.done * training.config.train.batch,
        seconds=training.seconds,
        peak_bytes=peak_bytes(training.fabric.device),
        loss=losses[-1] if losses else None,
        bad_images=dict(counts),
        validations=[_scores(line) for line in lines if any(n.startswith("val/") for n in line)],
        warnings=[{"step": x["step"], **x["warning"]} for x in lines if "warning" in x],
    )


def write_results(result: TrainResult, folder: RunFolder) -> None:
    """Write ``results.json``, without the folder's own path, which may change."""
    values = {name: value for name, value in asdict(result).items() if name != "out"}
    content = {"format": RESULTS_FORMAT, "train": values}
    write_text(folder.results, json.dumps(content, indent=2) + "\n")


def read_results(folder: RunFolder) -> TrainResult:
    """Read what a complete run came to."""
    values = read_json(folder.results, {"format", "train"})["train"]
    names = {field.name for field in fields(TrainResult)} - {"out"}
    if not isinstance(values, dict) or values.keys() != names:
        raise CheckpointError(
            f"train: {folder.results} must hold the results of a run, got {str(values)[:80]!r}"
        )
    return TrainResult(out=str(folder.path), **values)


@contextmanager
def _taken(folder: RunFolder) -> Iterator[None]:
    """Keep other runs out of the folder, and tidy it up: by the first process."""
    with ExitStack() as stack:

        def take() -> None:
            stack.enter_context(folder.locked())
            remove_leftovers(folder.path)

        here().on_first(take)
        yield


def _open_log(folder: RunFolder, *, step: int) -> RunLog | NoLog:
    return RunLog(folder.path, step=step) if here().first else NoLog()


def _require_one_step(step: int | None, folder: RunFolder) -> None:
    steps = here().exchange(step)
    if len(set(steps)) > 1:
        raise CheckpointError(
            f"train: all processes must see the same checkpoints in {folder.checkpoints}, got "
            f"steps {steps}; put the run where all machines see it"
        )


def _newest(folder: RunFolder, console: Console) -> Checkpoint | None:
    """Load the newest checkpoint; pass over a damaged one, saying so."""
    paths = list_checkpoints(folder.checkpoints)
    for path in paths:
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            console.print(f"passing over a checkpoint: {error}", style="yellow")
    if paths:
        raise CheckpointError(
            f"train: {folder.checkpoints} must hold an undamaged checkpoint, got "
            f"{len(paths)} damaged ones; delete them to start from the beginning"
        )
    return None


def _scores(line: dict[str, Any]) -> dict[str, float]:
    return {name.removeprefix("val/"): value for name, value in line.items()}
