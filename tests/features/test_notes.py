"""What is said, and how often."""

import pytest

from patchwise.features.notes import Notes


def test_a_thing_is_said_once() -> None:
    heard: list[str] = []
    notes = Notes(heard.append)
    for text in ("a", "b", "a"):
        notes.say_once(text)
    assert heard == ["a", "b"]
    Notes(heard.append).say_once("a")
    assert heard == ["a", "b", "a"]


def test_it_goes_beside_what_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    Notes().say_once("a")
    assert capsys.readouterr() == ("", "a\n")
