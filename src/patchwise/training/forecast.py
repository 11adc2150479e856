"""What a run will cost, measured before its first step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from patchwise.environment import peak_bytes
from patchwise.training.engine import Precision
from patchwise.training.loop import Stream, Training
from patchwise.training.processes import here

_WARM_UP_STEPS = 1
_TIMED_STEPS = 3
_LONG_ENOUGH_S = 10.0


@dataclass(frozen=True)
class Measurement:
    """A few steps of a run that is thrown away."""

    images_per_s: float
    peak_bytes: int  # of a process so far on a CPU, of the device's memory on a GPU


@dataclass(frozen=True)
class Forecast:
    """What a whole run is expected to take."""

    steps: int
    images: int  # with repeats
    images_per_s: float
    seconds: float
    peak_bytes: int
    precision: str
    measured: dict[str, float]  # images/s by precision, for each that was tried


def measure(training: Training, stream: Stream) -> Measurement:
    """Time real steps, as they are when queues are full.

    ``training`` is changed by them and must not be used after.

    The first step is not timed: it starts workers and fills caches. Nor are the batches that
    workers had read ahead: else a run that waits for its images would seem not to. Several
    processes measure together; what counts is the first one's time, and the most memory of any.
    """
    processes = here()
    if training.fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(training.fabric.device)
    training.total_steps = max(training.total_steps, _WARM_UP_STEPS + _TIMED_STEPS)
    training.method.settle()
    for _ in range(_WARM_UP_STEPS):
        training.step(next(stream))
    for _ in range(2 * training.config.data.workers):
        next(stream)
    start = time.perf_counter()
    timed = 0
    while timed < _TIMED_STEPS and not processes.any(time.perf_counter() - start > _LONG_ENOUGH_S):
        training.step(next(stream))
        timed += 1
    seconds = time.perf_counter() - start
    own = (timed * training.config.train.batch / seconds, peak_bytes(training.fabric.device))
    all_speeds, all_peaks = zip(*processes.exchange(own), strict=True)
    return Measurement(all_speeds[0], max(all_peaks))


def make_forecast(
    steps: int, batch: int, precision: Precision, measured: Mapping[Precision, Measurement]
) -> Forecast:
    """Scale a measurement up to a whole run.

    Args:
        steps: Optimiser steps of the run.
        batch: Images a step.
        precision: The one that the run will use; must be among ``measured``.
        measured: By precision.
    """
    chosen = measured[precision]
    return Forecast(
        steps=steps,
        images=steps * batch,
        images_per_s=chosen.images_per_s,
        seconds=steps * batch / chosen.images_per_s,
        peak_bytes=chosen.peak_bytes,
        precision=precision,
        measured={name: m.images_per_s for name, m in measured.items()},
    )
