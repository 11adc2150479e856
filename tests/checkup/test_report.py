"""A report is plain values: it comes back from JSON as it was."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from patchwise.checkup.report import (
    BadKind,
    Copies,
    CopyGroup,
    DoctorReport,
    Finding,
    Named,
    Pictures,
    Proposal,
    Spread,
    WrittenList,
)
from patchwise.training.forecast import Forecast

HOSTILE = "a [red]\n\x1b[31m ü \\xff'\".png"
SPREAD = Spread(16, 60, 256, 300.5, 4000)
CONFIG: dict[str, Any] = {
    "backbone": {"dim": 128, "depth": 6, "patch_px": 8},
    "method": {"name": "pwself", "views": {"global_px": 96, "local_count": 4, "local_px": 40}},
    "train": {"batch": 64, "epochs": 192.0, "device": "cpu"},
}
REPORT = DoctorReport(
    data=f"/data/{HOSTILE}",
    images=100,
    checked=90,
    usable=80,
    left=70,
    bad=(BadKind("tiny", Named(10, (HOSTILE,)), "decode_image: ..."),),
    duplicates=Copies(4, 2, (CopyGroup("a", Named(3, ("b", "c", HOSTILE))),)),
    near_duplicates=Copies(),
    flat=Named(0),
    pictures=Pictures(
        SPREAD, SPREAD, SPREAD, {"RGB": 80}, {"8": 79, "16": 1}, {"JPEG": 80}, 1, 2, 3
    ),
    findings=(Finding("warning", "Something [bold]", "Do it.", (HOSTILE,)),),
    proposal=Proposal(
        "small",
        {"data.tolerated_bad_images": 17},
        "patchwise train x --out runs/x --set data.tolerated_bad_images=17",
        CONFIG,
        Forecast(100, 6400, 36.0, 7384.0, 2**30, "bf16", {"float32": 30.0, "bf16": 36.0}),
    ),
    written=WrittenList("good.txt", 70),
    seconds=12.345,
)
NOTHING = replace(REPORT, usable=0, left=0, pictures=None, proposal=None, written=None)


@pytest.mark.parametrize("report", [REPORT, NOTHING])
def test_a_report_comes_back_from_json_as_it_was(report: DoctorReport) -> None:
    text = report.to_json()
    assert TypeAdapter(DoctorReport).validate_json(text) == report
    assert json.loads(text).keys() == asdict(report).keys()
    assert text.isascii()  # whatever the terminal or the file takes


def test_a_name_that_is_no_text_can_still_be_written() -> None:
    report = replace(REPORT, written=WrittenList("\udcff.txt", 1))
    assert json.loads(report.to_json())["written"]["path"] == "\udcff.txt"
