"""How far a work on many images is, in plain lines."""

import time
from collections.abc import Callable

from patchwise.features.notes import Say

_EVERY_S = 10.0


class ImageProgress:
    """Says how many images are done, how fast, and how long the rest will take.

    Args:
        say: Told a line now and then.
        total: Images to be worked on by all processes.
        done: Those that were before this process began.
        verb: What is done to them, such as "embedded".
        clock: Seconds.
    """

    def __init__(
        self,
        say: Say,
        *,
        total: int,
        done: int,
        verb: str = "embedded",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verb = verb
        self._say, self._total, self._before, self._clock = say, total, done, clock
        self._began = self._said = clock()

    def show(self, done: int) -> None:
        """Say that ``done`` images are done by now, if it is time to say so again."""
        now = self._clock()
        if now - self._said >= _EVERY_S and done > self._before:
            self._said = now
            rate = (done - self._before) / (now - self._began)
            left = (self._total - done) / rate
            self._say(
                f"{self._verb} {done} of {self._total} images, {rate:.1f} images/s, "
                f"{_clock_time(left)} left"
            )

    def end(self, done: int) -> None:
        """Say how fast it was."""
        seconds = max(self._clock() - self._began, 1e-9)
        new = done - self._before
        self._say(
            f"{self._verb} {new} images in {_clock_time(seconds)}, {new / seconds:.1f} images/s"
        )


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
