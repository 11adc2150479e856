"""Words for a page."""

import pytest

from patchwise.reporting.words import duration, gibibytes, visible, whole


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200f", "\x00", "\x1b", "\u2028", "\ufeff"]
)
def test_what_cannot_be_seen_is_written_out(hidden: str) -> None:
    shown = visible(f"a{hidden}b")
    assert hidden not in shown
    assert shown.startswith("a\\")


@pytest.mark.parametrize("text", ["plain", "Ünïcödé 漢字 שלום", "two\nlines\tand", "50 %", "🦊"])
def test_what_can_be_seen_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.31, "0.3 s"), (59, "59 s"), (835.2, "13 min 55 s"), (7384, "2 h 3 min"),
     (200_000, "2 d 7 h"), (59.7, "1 min 0 s")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_amounts() -> None:
    assert gibibytes(3 * 2**29) == "1.50 GiB"
    assert whole(1234567).replace("\u202f", " ") == "1 234 567"
