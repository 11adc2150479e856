"""Speed and time left by a clock that the test turns, and what is shown of them."""

import io
import time

import pytest
from rich.console import Console

from patchwise.training.progress import ProgressDisplay, Speed, Stopwatch, duration

SPEED = Speed(images_per_s=123.4, wait_frac=0.256, seconds_left=61)
FIGURES = "loss 0.5000  123 images/s  data wait 26%  1 min 01 s left"


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def run_steps(watch: Stopwatch, clock: Clock, *, steps: int, step_s: float, wait_s: float) -> None:
    for _ in range(steps):
        clock.now += step_s
        watch.wait(wait_s)
        watch.step()


def test_speed_is_images_over_time(clock: Clock) -> None:
    watch = Stopwatch(batch=32, total=100)
    run_steps(watch, clock, steps=4, step_s=0.5, wait_s=0.1)
    speed = watch.read(done=4)
    assert speed.images_per_s == pytest.approx(4 * 32 / 2.0)
    assert speed.wait_frac == pytest.approx(0.2)
    assert speed.seconds_left == pytest.approx(96 * 0.5)


def test_each_reading_is_of_the_steps_since_the_last(clock: Clock) -> None:
    watch = Stopwatch(batch=10, total=100)
    run_steps(watch, clock, steps=10, step_s=1.0, wait_s=1.0)
    watch.read(done=10)
    run_steps(watch, clock, steps=5, step_s=2.0, wait_s=0.0)
    speed = watch.read(done=15)
    assert speed.images_per_s == pytest.approx(5.0)
    assert speed.wait_frac == 0.0
    assert speed.seconds_left == pytest.approx(85 * (0.9 * 1.0 + 0.1 * 2.0))


def test_time_left_comes_to_follow_a_lasting_change(clock: Clock) -> None:
    watch = Stopwatch(batch=1, total=1000)
    run_steps(watch, clock, steps=1, step_s=1.0, wait_s=0.0)
    watch.read(done=1)
    for done in range(100):
        run_steps(watch, clock, steps=1, step_s=3.0, wait_s=0.0)
        speed = watch.read(done)
    assert speed.seconds_left == pytest.approx((1000 - 99) * 3.0, rel=1e-3)


def test_a_reading_without_time_or_steps_is_no_error(clock: Clock) -> None:
    watch = Stopwatch(batch=4, total=10)
    assert watch.read(done=0).images_per_s == 0.0
    clock.now += 1
    watch.wait(7.0)
    assert watch.read(done=10) == Speed(images_per_s=0.0, wait_frac=1.0, seconds_left=0.0)


def test_without_a_terminal_there_is_a_line_now_and_then(clock: Clock) -> None:
    clock.now = 0.0  # a machine that has just started
    text = io.StringIO()
    console = Console(file=text, width=40, soft_wrap=True)
    with ProgressDisplay(console, done=0, total=30) as display:
        for done in range(1, 31):
            display.show(done, 0.5, SPEED)
            clock.now += 1.0
    lines = text.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/30", "11/30", "21/30", "30/30"]
    assert lines[0] == f"step 1/30  {FIGURES}"


def test_on_a_terminal_there_is_a_bar() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, no_color=True, width=160)
    with ProgressDisplay(console, done=10, total=30) as display:
        display.show(20, 0.5, SPEED)
    assert "20/30" in text.getvalue()
    assert FIGURES in text.getvalue()


def test_a_resumed_bar_begins_where_the_run_does() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=True), done=10, total=30):
        pass
    assert "10/30" in text.getvalue()


def test_the_bar_is_taken_down_when_the_run_fails() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True)
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        ProgressDisplay(console, done=0, total=3),
    ):
        raise RuntimeError("out of memory")
    shown, hidden = text.getvalue().rfind("\x1b[?25h"), text.getvalue().rfind("\x1b[?25l")
    assert shown > hidden >= 0  # the cursor is back


def test_a_quiet_console_stays_quiet() -> None:
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, quiet=True), done=0, total=1) as display:
        display.show(1, 0.5, SPEED)
    assert text.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 00 h"),
        (200_000, "2 d 07 h"),
    ],
)
def test_durations_are_as_people_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
