"""The first signal is a request, the second one acts as usual."""

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from patchwise.training.interrupt import StopRequest

SIGNALS = [signal.SIGINT, signal.SIGTERM]


class UsualError(Exception):
    """What the handlers around a run raise."""


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        raise UsualError(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_nothing_is_received_without_a_signal() -> None:
    with StopRequest() as stop:
        assert stop.received is None


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_only_noted(number: signal.Signals) -> None:
    with StopRequest() as stop:
        send(number)
        assert stop.received is number


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_the_second_signal_acts_as_usual(first: signal.Signals, second: signal.Signals) -> None:
    with StopRequest() as stop:
        send(first)
        with pytest.raises(UsualError):
            send(second)
        assert stop.received is first


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("interrupted", [False, True])
def test_afterwards_signals_act_as_usual(number: signal.Signals, interrupted: bool) -> None:
    with StopRequest():
        if interrupted:
            send(number)
    with pytest.raises(UsualError):
        send(number)


def fail_inside_a_request() -> None:
    with StopRequest():
        raise RuntimeError("failed")


def test_signals_act_as_usual_after_a_failure() -> None:
    with pytest.raises(RuntimeError, match="failed"):
        fail_inside_a_request()
    with pytest.raises(UsualError):
        send(signal.SIGTERM)


def test_requests_may_be_nested() -> None:
    with StopRequest() as outer:
        with StopRequest() as inner:
            send(signal.SIGINT)
        assert inner.received is signal.SIGINT
        assert outer.received is None
        send(signal.SIGTERM)
        assert outer.received is signal.SIGTERM


def test_in_another_thread_it_does_nothing() -> None:
    received: list[object] = []

    def run() -> None:
        with StopRequest() as stop:
            received.append(stop.received)

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert received == [None]
    assert [signal.getsignal(number) for number in SIGNALS] == before
