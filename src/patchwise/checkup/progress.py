"""Progress of a check on the terminal: a live bar, or plain lines where there is no terminal."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S = 10.0
_BAR_EVERY_S = 0.1


class CheckProgress:
    """Shows how many images were read and how many are bad.

    The bar begins with the first image, so that workers are started before its thread is.
    """

    def __init__(self, console: Console, *, total: int) -> None:
        self._console, self._total = console, total
        self._bar: Progress | None = None
        self._shown = time.monotonic()

    def show(self, done: int, bad: int) -> None:
        """Say that ``done`` images are read, if it is time to say so again or all are."""
        now = time.monotonic()
        every = _BAR_EVERY_S if self._console.is_terminal else _LINE_EVERY_S
        if done < self._total and now - self._shown < every:
            return
        self._shown = now
        if self._console.is_terminal:
            self._show_bar(done, bad)
        else:
            self._console.print(f"read {done} of {self._total} images, {bad} bad")

    def _show_bar(self, done: int, bad: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("reading"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[bad]} bad"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("reading", total=self._total, bad=0)
            self._bar.start()
        self._bar.update(self._task, completed=done, bad=bad)

    def __enter__(self) -> "CheckProgress":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
