"""Progress: lines where there is no terminal, a bar where there is one, and always an end."""

import io

import pytest
from rich.console import Console

from patchwise.checkup.progress import CheckProgress


def lines(total: int, step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is printed if each image takes a second."""
    now = 0.0
    monkeypatch.setattr("patchwise.checkup.progress.time.monotonic", lambda: now)
    text = io.StringIO()
    with CheckProgress(Console(file=text, width=80), total=total) as progress:
        for done in range(step, total + 1, step):
            now += step
            progress.show(done, done // 10)
    return text.getvalue().splitlines()


def test_a_line_each_ten_seconds_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(25, 1, monkeypatch) == [
        "read 10 of 25 images, 1 bad",
        "read 20 of 25 images, 2 bad",
        "read 25 of 25 images, 2 bad",
    ]


def test_a_short_check_says_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(3, 1, monkeypatch) == ["read 3 of 3 images, 0 bad"]


def test_a_terminal_shows_a_bar_with_what_is_bad() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True)
    with CheckProgress(console, total=40) as progress:
        progress.show(40, 7)
    assert "40/40" in text.getvalue()
    assert "7 bad" in text.getvalue()
    with CheckProgress(Console(file=io.StringIO(), force_terminal=True), total=4) as progress:
        assert progress._bar is None  # its thread must not be there before the workers are
