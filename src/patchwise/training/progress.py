"""Progress of a run on the terminal: a live bar, or plain lines where there is no terminal."""

import math
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Speed:
    """How fast the last steps were."""

    images_per_s: float
    wait_frac: float  # share of the time in which training waited for images
    seconds_left: float


class Stopwatch:
    """Measures the steps since it was started or last read."""

    def __init__(self, *, batch: int, total: int) -> None:
        self._batch, self._total = batch, total
        self._smooth_s: float | None = None
        self.restart()

    def restart(self) -> None:
        """Forget the time since the last reading, which was spent on something else."""
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0

    def wait(self, seconds: float) -> None:
        """Count seconds in which there was nothing to train on."""
        self._waited += seconds

    def step(self) -> None:
        """Count an optimiser step."""
        self._steps += 1

    def read(self, done: int) -> Speed:
        """Return the speed since the last reading and start anew; ``done`` steps of all are done.

        The time left is from a smoothed time of a step.
        """
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        step_s = elapsed / max(self._steps, 1)
        self._smooth_s = step_s if self._smooth_s is None else 0.9 * self._smooth_s + 0.1 * step_s
        speed = Speed(
            images_per_s=self._steps * self._batch / elapsed,
            wait_frac=min(1.0, self._waited / elapsed),
            seconds_left=(self._total - done) * self._smooth_s,
        )
        self.restart()
        return speed


class ProgressDisplay:
    """Shows step, loss, images/s, share of waiting for data, and the time left."""

    def __init__(self, console: Console, *, done: int, total: int) -> None:
        self._console = console
        self._total = total
        self._last_line = -math.inf
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=console,
            )
            self._task = self._bar.add_task("training", total=total, completed=done, figures="")

    def show(self, done: int, loss: float, speed: Speed) -> None:
        """Update the bar, or print a line if the last one is old enough or this is the end."""
        figures = (
            f"loss {loss:.4f}  {speed.images_per_s:.0f} images/s  "
            f"data wait {speed.wait_frac:.0%}  {duration(speed.seconds_left)} left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif time.monotonic() - self._last_line >= _LINE_EVERY_S or done == self._total:
            self._last_line = time.monotonic()
            self._console.print(f"step {done}/{self._total}  {figures}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, style="yellow")

    def __enter__(self) -> "ProgressDisplay":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Return a duration as people write it.

    >>> duration(59), duration(61), duration(7384), duration(200_000)
    ('59 s', '1 min 01 s', '2 h 03 min', '2 d 07 h')
    """
    minutes, rest_s = divmod(round(seconds), 60)
    hours, rest_min = divmod(minutes, 60)
    days, rest_h = divmod(hours, 24)
    if days:
        return f"{days} d {rest_h:02d} h"
    if hours:
        return f"{hours} h {rest_min:02d} min"
    if minutes:
        return f"{minutes} min {rest_s:02d} s"
    return f"{rest_s} s"
