"""The training loop. There is only this one.

A step is a pure function of the state before it and of (seed, step): views are keyed by image,
and torch's generator, which stochastic depth draws from, is seeded anew at every step. So a run
that goes on from a checkpoint is the run that never stopped, bit for bit on a CPU; and several
processes, each with its part of the batch, make the step of one, up to rounding.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from patchwise.configs.run import RunConfig
from patchwise.data.bad_images import BadImages
from patchwise.errors import DataError, TrainingError
from patchwise.methods.method import Batch, Method, Step, StepLoss
from patchwise.models.backbone import Backbone
from patchwise.models.vit import ViT
from patchwise.randomness import random_seed
from patchwise.training.checkpoint import Checkpoint, pack_state, save_checkpoint
from patchwise.training.engine import FabricCollectives
from patchwise.training.health import HealthWatch
from patchwise.training.interrupt import StopRequest
from patchwise.training.log import NoLog, RunLog
from patchwise.training.optim import (
    apply_schedules,
    clip_gradients,
    drop_frozen_gradients,
    relative_update,
)
from patchwise.training.processes import here
from patchwise.training.progress import ProgressDisplay, Speed, Stopwatch
from patchwise.training.sharing import average_gradients

_MODEL_DRAWS = 1  # key of the seeds of torch's generator

Stream = Iterator[Batch]
AnyMethod = Method[Any, Any]


@dataclass(frozen=True)
class _Sums:
    """What a batch came to, over its parts."""

    carries: list[Any]
    losses: dict[str, Tensor]
    health: dict[str, list[Tensor]]


@dataclass
class Training:
    """A method on its way: what changes from step to step, and how a step is made."""

    method: AnyMethod
    optimizer: torch.optim.Optimizer
    config: RunConfig
    total_steps: int
    steps_per_epoch: int
    fabric: Fabric
    done: int = 0  # optimiser steps
    seconds: float = 0.0  # spent on them, over all resumptions

    def __post_init__(self) -> None:
        for module in self.method.modules():
            if isinstance(module, ViT):
                module.checkpointed = self.config.train.recompute

    def step(self, batch: Batch) -> dict[str, float]:
        """Make one optimiser step; return what there is to log of it.

        Raises:
            TrainingError: Loss or gradient is not finite. The weights are those before the step.
        """
        step = Step(
            index=self.done,
            total=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            seed=self.config.train.seed,
            collectives=FabricCollectives(self.fabric),
            watched=self.is_logged(self.done + 1),
        )
        torch.manual_seed(random_seed(step.seed, step.index, _MODEL_DRAWS))
        rate, decay = apply_schedules(
            self.optimizer, self.config.optim, batch=self.config.train.batch, step=step
        )
        self.method.train()
        self.optimizer.zero_grad(set_to_none=True)
        found = self._backward(batch, step)
        drop_frozen_gradients(self.optimizer, step)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        average_gradients(parameters, step.collectives)
        norm = clip_gradients(parameters, max_norm=self.config.optim.clip_norm)
        health = {f"health/{name}": fmean(map(float, v)) for name, v in found.health.items()}
        losses = {name: float(value) for name, value in found.losses.items()}
        means = here().mean({**losses, **health})
        values = {**{name: means[name] for name in losses}, "gradient_norm": float(norm)}
        self._require_finite(values)
        self.optimizer.step()
        if step.watched:
            means["health/update"] = float(relative_update(self.optimizer))
        self.method.after_step(found.carries, step)
        self.done += 1
        return {**values, "lr": rate, "weight_decay": decay, **means}

    def is_logged(self, done: int) -> bool:
        """Tell whether a line is logged when so many steps are done."""
        return done == self.total_steps or done % self.config.train.log_every_steps == 0

    def _backward(self, batch: Batch, step: Step) -> "_Sums":
        """Add up the gradients of all parts of the batch."""
        parts = self.config.train.accumulate
        carries: list[Any] = []
        sums: dict[str, Tensor] = {}
        health: dict[str, list[Tensor]] = {}
        split = {name: images.split(parts) for name, images in batch.items()}
        for part in range(parts):
            images = {name: pieces[part].to(self.fabric.device) for name, pieces in split.items()}
            with torch.no_grad():
                views = self.method.make_views(images, step)
            for loss in self._each(self.method.losses(views, step)):
                self.fabric.backward(loss.total)
                if loss.carry is not None:
                    carries.append(loss.carry)
                for name, value in loss.parts.items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.cpu().double() / parts
                for name, value in loss.health.items():
                    health.setdefault(name, []).append(value)
        if parts > 1:
            trained = (p for group in self.optimizer.param_groups for p in group["params"])
            torch._foreach_div_([p.grad for p in trained if p.grad is not None], parts)
        return _Sums(carries, sums, health)

    def _each(self, losses: Iterator[StepLoss[Any]]) -> Iterator[StepLoss[Any]]:
        """Compute each loss under autocast, and leave autocast for its backward."""
        while True:
            with self.fabric.autocast():
                loss = next(losses, None)
            if loss is None:
                return
            yield loss

    def _require_finite(self, values: Mapping[str, float]) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"train: {broken[0]} must be a finite number, got {values[broken[0]]} at step "
                f"{self.done}; begin a new run with --set optim.lr_per_256="
                f"{self.config.optim.lr_per_256 / 10:.2g} or with --set train.precision=float32, "
                f"with --init from this one's backbone if it is good"
            )


@dataclass(frozen=True)
class Observers:
    """Those who are told how a run goes."""

    log: RunLog | NoLog
    display: ProgressDisplay
    stop: StopRequest  # of this process; all stop when one of them is asked to
    bad_images: Mapping[str, BadImages]  # by input, which may share one
    validate: Callable[[Backbone], dict[str, float]] | None = None

    def stopped(self) -> bool:
        """Tell whether any process has been asked to stop."""
        return here().any(self.stop.received is not None)


@dataclass(frozen=True)
class Saving:
    """Where checkpoints go, and what is written at the same moments."""

    folder: Path
    export: Callable[[Backbone], None]


def fit(
    training: Training, stream: Stream, observers: Observers, saving: Saving, *, until: int
) -> bool:
    """Train until a step, or until a stop is requested.

    Args:
        training: Where to begin; is where it was left afterwards.
        stream: Batches from step ``training.done`` on.
        observers: Log, display, stop request, count of bad images, validation.
        saving: Where checkpoints go.
        until: Optimiser steps that are to be done in the end, of the whole run.

    Returns:
        Whether they are. Either way a checkpoint of the last step is there.

    Raises:
        DataError: Images cannot be read any more; a checkpoint of the last step is there.
        TrainingError: See `Training.step`.
    """
    config = training.config.train
    health = HealthWatch(training.config, observers.log.lines())
    watch = Stopwatch(batch=config.batch, total=training.total_steps)
    saved_at = -1
    while training.done < until and not observers.stopped():
        before = time.perf_counter()
        try:
            batch = next(stream)
        except DataError:
            if observers.stopped():
                break  # workers may be gone: the signal was for all processes
            _save(training, saving, observers.bad_images)
            raise
        watch.wait(time.perf_counter() - before)
        values = training.step(batch)
        watch.step()
        training.seconds += time.perf_counter() - before
        last = training.done == training.total_steps
        if training.is_logged(training.done):
            line = _report(training, observers, values, watch.read(training.done))
            _warn(observers, health, line)
        due = _is_due(training, config.val_every_epochs) or last
        if due:
            log_scores(training, observers)
        if training.done % config.checkpoint_every_steps == 0:
            _save(training, saving, observers.bad_images)
            saved_at = training.done
        if due or saved_at == training.done:
            watch.restart()
    if saved_at != training.done:
        _save(training, saving, observers.bad_images)
    return training.done == until


def log_scores(training: Training, observers: Observers) -> None:
    """Validate, if there is anything to validate on, with the backbone in eval mode."""
    if observers.validate is not None:
        training.method.eval()  # `Training.step` goes back to training mode
        validate = functools.partial(observers.validate, training.method.backbone)
        scores = here().from_first(validate)
        observers.log.write(training.done, {f"val/{name}": s for name, s in scores.items()})


def _report(
    training: Training, observers: Observers, values: Mapping[str, float], speed: Speed
) -> dict[str, float]:
    """Log and show a step; return the line of the log."""
    figures = {
        "epoch": training.done / training.steps_per_epoch,
        "bad_images": sum(map(len, set(observers.bad_images.values()))),
        "images_per_s": speed.images_per_s,
        "data_wait_frac": speed.wait_frac,
    }
    observers.log.write(training.done, {**values, **figures})
    observers.display.show(training.done, values["loss"], speed)
    return {"step": training.done, **values, **figures}


def _warn(observers: Observers, health: HealthWatch, line: dict[str, float]) -> None:
    """Name what is wrong with the run, in the log and aloud, when it is first seen."""
    found = health.observe(line)
    if found is not None:
        observers.log.write(int(line["step"]), {"warning": asdict(found)})
        observers.display.say(f"warning at step {line['step']}: {found.message}")


def _is_due(training: Training, every_epochs: float) -> bool:
    """Tell whether the last step went over a multiple of ``every_epochs``."""
    every_steps = max(1, round(every_epochs * training.steps_per_epoch))
    return training.done % every_steps == 0


def _save(training: Training, saving: Saving, bad_images: Mapping[str, BadImages]) -> None:
    """Let the first process write what all have alike."""
    here().on_first(lambda: _write(training, saving, bad_images))


def _write(training: Training, saving: Saving, bad_images: Mapping[str, BadImages]) -> None:
    states = {name: found.state() for name, found in bad_images.items()}
    facts = {"seconds": training.seconds, "bad_images": states}
    tensors = pack_state(training.method, training.optimizer)
    saving.export(training.method.backbone)
    save_checkpoint(
        saving.folder,
        Checkpoint(training.done, tensors, facts),
        keep=training.config.train.keep_checkpoints,
    )
