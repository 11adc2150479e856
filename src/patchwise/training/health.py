"""What is wrong with a run, from the values it has logged: named, with what to try.

A diagnosis needs a symptom in the measured values; the settings only tell apart the causes that
have this symptom. One is the exception: that a teacher cannot follow is worked out from its
momentum and the steps, because no logged value tells such a run from a healthy one.

The thresholds lie between runs that were spoilt on purpose and healthy ones, and were set on those
very runs: docs/health.md has the table.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from patchwise.configs.methods import DistillationConfig
from patchwise.configs.run import RunConfig

_WINDOW_STEPS, _WINDOW_FRAC, _WINDOW_LINES = 100, 0.05, 5  # what is judged: the latest of a run
FAST_UPDATE = 0.01  # of the weights' length in a step
LOST_RANK_FRAC, FAR_FRAC = 0.7, 0.2  # of the first rank that is left; student from teacher
FEW_PROTOTYPES, LARGE_OFFSET = 5.0, 8.0
SLOW_CENTRE_FRAC = 0.2  # of the steps so far that a centre averages over
LITTLE_FOLLOWING, LITTLE_TRAVEL_FRAC = 0.5, 0.1
UNIFORM_ENTROPY, UNIFORM_LOSS = 0.8, 0.97
HIGH_TEMPERATURE_RATIO = 0.3  # teacher's over student's
LITTLE_USE, LITTLE_FILL = 0.05, 0.2
LEAST_RANK = 1.5  # in dimensions: 1 if all patches have one feature


@dataclass(frozen=True)
class Diagnosis:
    """A cause by name, and in words: the evidence, the setting, and what to try."""

    cause: str
    message: str


@dataclass(frozen=True)
class Evidence:
    """A run's logged values up to now, and its settings."""

    config: RunConfig
    lines: Sequence[Mapping[str, Any]]  # those with health values, oldest first
    window: Sequence[Mapping[str, Any]]  # the latest of them

    def typical(self, name: str) -> float:
        """Return the median of a health value in the window."""
        return float(median(line[f"health/{name}"] for line in self.window))

    @property
    def steps(self) -> int:
        """Optimiser steps that are done."""
        return int(self.lines[-1]["step"])

    @property
    def span(self) -> str:
        """The window in words."""
        return f"over the last {self.steps - int(self.window[0]['step'])} steps"

    @property
    def steps_per_epoch(self) -> float:
        """Optimiser steps an epoch."""
        return self.steps / float(self.lines[-1]["epoch"])

    @property
    def total_steps(self) -> float:
        """Optimiser steps of the whole run."""
        return self.config.train.epochs * self.steps_per_epoch

    @property
    def method(self) -> DistillationConfig:
        """Settings of the method, where it is one that distils itself."""
        assert isinstance(self.config.method, DistillationConfig), "the other has other rules"
        return self.config.method

    @property
    def used(self) -> float:
        """Prototypes in use, in number."""
        return self.typical("prototype_use") * self.method.prototypes

    @property
    def few_take_all(self) -> bool:
        """Whether a few prototypes get all answers, and the centre does not prevent it."""
        offset = self.typical("centre_offset")
        return self.used < FEW_PROTOTYPES and offset > LARGE_OFFSET

    @property
    def takers(self) -> str:
        """The few, in words."""
        return f"{self.used:.1f} of {self.method.prototypes} prototypes take all answers"

    @property
    def uniform(self) -> bool:
        """Whether the teacher's answers are nearly all alike, and the student knows no better."""
        entropy, loss = self.typical("teacher_entropy"), self.typical("loss_frac")
        return entropy > UNIFORM_ENTROPY and loss > UNIFORM_LOSS


def diagnose(lines: Iterable[Mapping[str, Any]], config: RunConfig) -> Diagnosis | None:
    """Return what is most likely wrong with a run; None if nothing is seen.

    Nothing is said before the learning rate has warmed up, the prototypes move, and a window of
    5 lines, 100 steps and a twentieth of the run has been seen since.

    Args:
        lines: The run's log so far; only lines with health values count.
        config: The run's resolved settings.
    """
    known = [line for line in lines if "health/update" in line]
    if not known or not known[-1]["epoch"]:
        return None
    evidence = Evidence(config, known, known)
    length = max(_WINDOW_STEPS, _WINDOW_FRAC * evidence.total_steps)
    first = known[-1]["step"] - length
    begun, rules = config.optim.warmup_epochs, _POST_TRAINING_RULES
    if isinstance(config.method, DistillationConfig):
        begun, rules = max(begun, config.method.frozen_prototype_epochs), _RULES
    window = [line for line in known if line["step"] >= first]
    if first < begun * evidence.steps_per_epoch or len(window) < _WINDOW_LINES:
        return None
    evidence = Evidence(config, known, window)
    found = ((cause, rule(evidence)) for cause, rule in rules.items())
    return next((Diagnosis(cause, text) for cause, text in found if text is not None), None)


class HealthWatch:
    """Follows a run's log and names its causes once. Its state is what the log says.

    After a cause has been named, only one that goes before it in `CAUSES` is: the others are
    what follows from it.
    """

    def __init__(self, config: RunConfig, lines: Iterable[Mapping[str, Any]]) -> None:
        self._config = config
        self._lines = list(lines)
        named = [line["warning"]["cause"] for line in self._lines if "warning" in line]
        self._best = min(map(CAUSES.index, named), default=len(CAUSES))

    def observe(self, line: Mapping[str, Any]) -> Diagnosis | None:
        """Take in the line just logged; return what is to be said now."""
        self._lines.append(line)
        found = diagnose(self._lines, self._config)
        if found is None or CAUSES.index(found.cause) >= self._best:
            return None
        self._best = CAUSES.index(found.cause)
        return found


def _learning_rate(run: Evidence) -> str | None:
    update, distance = run.typical("update"), run.typical("teacher_distance")
    first, rank = run.lines[0]["health/patch_rank"], run.typical("patch_rank")
    if update < FAST_UPDATE or (rank > LOST_RANK_FRAC * first and distance < FAR_FRAC):
        return None
    rate = run.config.optim.lr_per_256
    return (
        f"the weights change by {update:.1%} of their length a step {run.span}, and the effective "
        f"rank of the patches went from {first:.2f} to {rank:.2f} of the largest possible: "
        f"optim.lr_per_256 {rate:g} is too high; begin a new run with "
        f"--set optim.lr_per_256={rate / 10:.2g}"
    )


def _features_collapsed(run: Evidence) -> str | None:
    """All patches have one feature: of a method that tells nothing of its prototypes."""
    rank = run.typical("patch_rank") * run.config.backbone.dim
    if rank > LEAST_RANK:
        return None
    return (
        f"all patches have nearly one feature (rank {rank:.2f} {run.span}): begin a new run with "
        f"--set optim.lr_per_256={run.config.optim.lr_per_256 / 3:.2g}"
    )


def _centre_off(run: Evidence) -> str | None:
    momentum = run.method.centre_momentum
    if not run.few_take_all or _averaged_steps(momentum) < SLOW_CENTRE_FRAC * run.steps:
        return None
    return (
        f"{run.takers} {run.span}, and the centre does not make up for it: one score is "
        f"{run.typical('centre_offset'):.0f} teacher temperatures ahead on average (loss "
        f"{run.typical('loss_frac'):.2f} ln K): method.centre_momentum {momentum:g} is too high, "
        f"1 never moves the centre; begin a new run with --set method.centre_momentum=0.9"
    )


def _momentum_too_low(run: Evidence) -> str | None:
    """Few prototypes take all though the centre moves: the teacher outruns it."""
    momentum, centre = run.method.teacher_momentum, run.method.centre_momentum
    if not run.few_take_all or _averaged_steps(momentum) > 2 * _averaged_steps(centre):
        return None
    return (
        f"student and teacher collapse together: {run.takers} {run.span}, and the teacher is only "
        f"{run.typical('teacher_distance'):.1%} away from the student, faster than the centre can "
        f"follow: method.teacher_momentum {momentum:g} is too low; begin a new run with "
        f"--set method.teacher_momentum={_usual_momentum(run):.4g}"
    )


def _collapse(run: Evidence) -> str | None:
    """What is left when the settings give no hint."""
    rank = run.typical("patch_rank") * run.config.backbone.dim
    if not run.few_take_all and rank > LEAST_RANK:
        return None
    alike = f"all patches have nearly one feature (rank {rank:.2f})"
    seen = run.takers if run.few_take_all else alike
    method, rate = run.method, run.config.optim.lr_per_256
    return (
        f"{seen} {run.span}, and no setting stands out: begin a new run with --set "
        f"optim.lr_per_256={rate / 3:.2g} or with --set method.prototype_rate_scale="
        f"{method.prototype_rate_scale / 5:.2g}"
    )


def _momentum_too_high(run: Evidence) -> str | None:
    momentum = run.method.teacher_momentum
    following = (1 - momentum) * run.total_steps / 2  # the momentum rises to 1 along a cosine
    distance = run.typical("teacher_distance")
    travel = (1 - momentum) * run.steps * distance  # at most
    if following > LITTLE_FOLLOWING or distance == 0 or travel > LITTLE_TRAVEL_FRAC * distance:
        return None
    return (
        f"the teacher does not follow: the student's weights are {distance:.1%} away from it, and "
        f"in {run.steps} steps it has moved by at most {travel:.2%} (agreement "
        f"{run.typical('agreement'):.2f} {run.span}): method.teacher_momentum {momentum:g} is too "
        f"high for {run.total_steps:.0f} steps; begin a new run with "
        f"--set method.teacher_momentum={_usual_momentum(run):.4g}"
    )


def _temperature_too_high(run: Evidence) -> str | None:
    method = run.method
    ratio = method.teacher_temperature / method.student_temperature
    if not run.uniform or ratio < HIGH_TEMPERATURE_RATIO:
        return None
    return (
        f"the teacher's answers are nearly uniform (entropy {run.typical('teacher_entropy'):.2f} "
        f"of ln {method.prototypes} {run.span}, loss {run.typical('loss_frac'):.2f} ln K): "
        f"method.teacher_temperature {method.teacher_temperature:g} is too high for so short a "
        f"run; begin a new one with --set method.teacher_temperature="
        f"{0.2 * method.student_temperature:g} and the same for "
        f"method.warmup_teacher_temperature"
    )


def _too_many_prototypes(run: Evidence) -> str | None:
    prototypes = run.method.prototypes
    images = run.steps_per_epoch * run.config.train.batch
    idle = run.typical("prototype_use") < LITTLE_USE
    if not idle or run.typical("prototype_fill") > LITTLE_FILL or prototypes < images:
        return None
    wanted = min(prototypes // 2, max(16, 2 ** round(run.used).bit_length()))
    return (
        f"only about {run.used:.0f} of {prototypes} prototypes are in use {run.span}, and there "
        f"are {images:.0f} images: method.prototypes {prototypes} is too many for these data; "
        f"begin a new run with --set method.prototypes={wanted}"
    )


def _no_progress(run: Evidence) -> str | None:
    lowest = min(line["health/loss_frac"] for line in run.lines)
    if not run.uniform and lowest < UNIFORM_LOSS:
        return None
    rate = run.config.optim.lr_per_256
    return (
        f"the student foresees nothing of the teacher: the loss is "
        f"{run.typical('loss_frac'):.2f} ln K {run.span}, and was {lowest:.2f} at best; the "
        f"weights change by {run.typical('update'):.2%} a step: try optim.lr_per_256 three times "
        f"above or below {rate:g}, or a sharper method.teacher_temperature than "
        f"{run.method.teacher_temperature:g}"
    )


def _averaged_steps(momentum: float) -> float:
    """Return over how many steps a moving average reaches back."""
    return math.inf if momentum == 1 else 1 / (1 - momentum)


def _usual_momentum(run: Evidence) -> float:
    """Return what the recipes take: the average of a thirtieth of the run, at least 30 steps."""
    return 1 - 1 / max(30.0, run.total_steps / 30)


_RULES: dict[str, Callable[[Evidence], str | None]] = {
    "learning_rate": _learning_rate,
    "centre_off": _centre_off,
    "momentum_too_low": _momentum_too_low,
    "collapse": _collapse,
    "momentum_too_high": _momentum_too_high,
    "teacher_temperature": _temperature_too_high,
    "too_many_prototypes": _too_many_prototypes,
    "no_progress": _no_progress,
}
_POST_TRAINING_RULES: dict[str, Callable[[Evidence], str | None]] = {
    "learning_rate": _learning_rate,
    "collapse": _features_collapsed,
}
CAUSES = tuple(_RULES)  # the first that fits is named
