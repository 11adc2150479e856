"""Straightness, and charts that stand alone."""

import xml.etree.ElementTree
from pathlib import Path

import pytest
from benchmarks.growth import SWEEPS, draw, straightness, vary
from benchmarks.setting import Setting


def test_a_line_is_straight_and_a_square_is_not() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert straightness(values, [3 + 2 * x for x in values]) == pytest.approx(1.0)
    assert straightness(values, [7.0] * 5) == 1.0
    assert straightness(values, [x**2 for x in values]) < 0.99
    assert straightness(values, [1.0, -1.0, 0.0, -1.0, 1.0]) == pytest.approx(0.0, abs=1e-9)


def test_each_sweep_changes_its_own_number() -> None:
    setting = Setting()
    for sweep in SWEEPS:
        changed = vary(setting, sweep, 3)
        assert getattr(changed, sweep) == 3
        assert vary(changed, sweep, getattr(setting, sweep)) == setting


def test_a_chart_is_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "charts" / "batch-time.svg"
    draw(file, "batch", "seconds a step", [2.0, 4.0, 8.0], [1.0, 2.0, 4.1])
    root = xml.etree.ElementTree.parse(file).getroot()
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(circles) == 3
    assert "images in a batch" in file.read_text(encoding="utf-8")
