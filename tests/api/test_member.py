"""The command of another process of a call."""

import json
import sys
from pathlib import Path

import pytest

from patchwise.api.member import member_command, take_part


def test_it_is_given_the_same_but_makes_no_processes_of_its_own() -> None:
    settings = {"train.epochs": 2, "method.views_per_pass": 1, "train.precision": None}
    given = {"data": Path("some images"), "out": "x", "settings": settings, "quiet": False}
    command = member_command("train", given)
    assert command[0] == sys.executable
    assert command[-2] == "train"
    assert json.loads(command[-1]) == {
        "data": "some images",
        "out": "x",
        "settings": settings,
        "processes": 1,
        "quiet": True,
    }


@pytest.mark.bad_input
def test_it_says_what_is_wrong_on_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = member_command("train", {"data": tmp_path / "nowhere", "out": tmp_path / "run"})
    assert command[1:3] == ["-c", "from patchwise.api.member import take_part; take_part()"]
    monkeypatch.setattr(sys, "argv", command[2:])
    with pytest.raises(SystemExit) as caught:
        take_part()
    assert "nowhere" in str(caught.value.code).splitlines()[-1]


@pytest.mark.bad_input
def test_what_is_no_plain_value_cannot_be_handed_on() -> None:
    with pytest.raises(TypeError, match="object is no setting"):
        member_command("train", {"data": object()})
