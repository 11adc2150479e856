"""What a person reads: whole, in 80 columns, and whatever files are called."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from patchwise.checkup.naming import one_line
from patchwise.checkup.render import print_report
from patchwise.checkup.report import DoctorReport, Finding, WrittenList
from tests.checkup.test_report import HOSTILE, NOTHING, REPORT


def printed(report: DoctorReport, *, width: int = 80, colour: bool = False) -> str:
    file = io.StringIO()
    print_report(report, Console(file=file, width=width, force_terminal=colour))
    return file.getvalue()


def test_all_numbers_are_there() -> None:
    text = printed(REPORT, width=200)
    for part in (
        "100 images, 90 read; 80 can be used, 70 of them without copies (12 s)",
        "warning Something [bold]. Do it.",
        "channels: RGB 80",
        "bits a value: 8 79, 16 1",
        "format: JPEG 80",
        "70 paths are in good.txt",
        "ViT 128 wide, 6 deep, patch 8; views 2 x 96 + 4 x 40 px; batch 64, 192 epochs on cpu",
        "forecast: 2 h 03 min for 100 steps at 36 images/s in bf16, 1.0 GiB of memory",
    ):
        assert part in text, part
    sides = next(line for line in text.splitlines() if line.startswith("short side, px"))
    assert sides.split()[3:] == ["16", "60", "256", "300", "4000"]


def test_hostile_names_stay_on_their_line_and_are_no_markup() -> None:
    text = printed(REPORT, width=200)
    assert one_line(HOSTILE) in text
    assert "\x1b" not in text
    assert "\x1b[31m" not in printed(REPORT, colour=True)


def test_no_line_but_the_command_is_wider_than_the_terminal() -> None:
    long = replace(
        REPORT, data="/x" * 90, findings=(Finding("note", "w" * 99, "a" * 99, ("n" * 99,)),),
        written=WrittenList("l" * 99, 1),
    )  # fmt: skip
    lines = printed(long).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "".join(line.strip() for line in lines).count("n" * 99) == 1


def test_what_fits_a_line_is_on_one_and_what_does_not_is_whole() -> None:
    names = tuple(f"{letter * 29}.png" for letter in "abc")
    texts = [("What", "Advice.", names[:2]), ("w " * 30, "a " * 30 + "end", names)]
    texts.append(("Alone", "", ()))
    findings = tuple(Finding("note", what, advice, some) for what, advice, some in texts)
    lines = [line.strip() for line in printed(replace(REPORT, findings=findings)).splitlines()]
    first = lines.index("note    What. Advice.")
    assert lines[first + 1] == ", ".join(names[:2])
    assert lines[first + 3].endswith("a end")
    assert lines[first + 4 : first + 8] == [*names, "note    Alone"]


def test_the_command_is_one_line_to_paste() -> None:
    assert REPORT.proposal is not None
    command = f"patchwise train {'/long' * 40} --out runs/x"
    report = replace(REPORT, proposal=replace(REPORT.proposal, command=command))
    assert printed(report).splitlines()[-1] == f"  {command}"


def test_where_nothing_can_be_used_nothing_is_proposed() -> None:
    text = printed(NOTHING)
    assert "0 can be used" in text
    assert "How to train" not in text
    assert "paths are in" not in text


def test_good_images_are_said_to_be() -> None:
    assert "Nothing is wrong." in printed(replace(REPORT, findings=()))
    assert "Nothing is wrong." not in printed(REPORT)


def test_without_a_forecast_there_is_none() -> None:
    assert REPORT.proposal is not None
    text = printed(replace(REPORT, proposal=replace(REPORT.proposal, forecast=None)))
    assert "forecast" not in text
    assert "recipe small" in text


@pytest.mark.parametrize("severity", ["error", "warning", "note"])
def test_every_severity_is_named(severity: str) -> None:
    finding = Finding(severity, "x")  # type: ignore[arg-type]
    assert f"{severity:<7} x" in printed(replace(REPORT, findings=(finding,)))
