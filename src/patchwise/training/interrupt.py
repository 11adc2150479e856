"""Stopping on request: Ctrl-C and SIGTERM end the run after the step in hand."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets ``received``; a second acts as usual.

    Must be entered in the main thread; elsewhere Python delivers no signals, and it does nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "StopRequest":
        try:
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        except ValueError:  # not in the main thread
            self._previous.clear()
        return self

    def __exit__(self, *_error: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
