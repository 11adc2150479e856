"""Charts: points at their places, round ticks, nothing that is not escaped."""

import dataclasses
import itertools
import re
from xml.etree import ElementTree

import pytest

from patchwise.reporting.chart import Chart, Line, describe, draw_chart, thin, ticks

CHART = Chart(
    "one", "Loss", "step", "nats", (Line("loss", [(0, 4.0), (50, 3.0), (100, 1.0)]),), "meaning"
)


def drawn(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(draw_chart(chart))


def texts(chart: Chart) -> list[str]:
    return [element.text or "" for element in drawn(chart).iter("text")]


def path(chart: Chart, number: int = 0) -> list[tuple[float, float]]:
    lines = [e for e in drawn(chart).iter("path") if f"line{number}" in e.get("class", "")]
    found = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", lines[0].get("d", ""))
    return [(float(x), float(y)) for x, y in found]


def test_points_lie_in_proportion_and_higher_values_higher_up() -> None:
    (x0, y0), (x1, y1), (x2, y2) = path(CHART)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 < y1 < y2
    assert (y2 - y1) == pytest.approx(2 * (y1 - y0), abs=0.3)


def test_ticks_stand_where_their_values_are() -> None:
    """Read a point's value off the axis."""
    root = drawn(CHART)
    at = {
        e.text: float(e.get("y", "")) - 4 for e in root.iter("text") if "end" in e.get("class", "")
    }
    assert path(CHART)[1][1] == pytest.approx(at["3"], abs=0.2)


def test_both_axes_are_labelled_and_the_chart_is_titled() -> None:
    assert {"step", "nats"} <= set(texts(CHART))
    root = drawn(CHART)
    assert root.find("title") is not None
    assert root.get("role") == "img"
    ids = {element.get("id") for element in root.iter()}
    assert set(root.get("aria-labelledby", "").split()) <= ids


def test_the_description_tells_first_last_and_extremes() -> None:
    assert "4 at first, 1 at last, between 1 and 4" in describe(CHART)


def test_everything_is_inside() -> None:
    for line in (
        Line("a", [(0, 1e-9), (1, 2e-9)]),
        Line("b", [(7, 5.0)]),
        Line("c", [(0, -3), (9, 2)]),
    ):
        for x, y in path(dataclasses.replace(CHART, lines=(line,), levels=((1.5, "x"),))):
            assert 58 <= x <= 346
            assert 11 <= y <= 193


def test_constant_values_and_single_points_are_drawn() -> None:
    flat = dataclasses.replace(CHART, lines=(Line("flat", [(1, 0.0), (2, 0.0)]),), from_zero=True)
    assert len(path(flat)) == 2
    single = dataclasses.replace(CHART, lines=(Line("one", [(5, 2.0)]),))
    assert len(list(drawn(single).iter("circle"))) == 1


def test_levels_and_moments_are_drawn() -> None:
    chart = dataclasses.replace(CHART, levels=((5.5, "ln K"),), moments=(20.0,))
    assert "ln K" in texts(chart)
    classes = [element.get("class") for element in drawn(chart).iter("path")]
    assert classes.count("level") == classes.count("moment") == 1


def test_words_are_escaped() -> None:
    bad = "<script>alert(1)</script>"
    chart = dataclasses.replace(
        CHART,
        title=bad,
        y_label=bad,
        x_label=bad,
        levels=((2.0, bad),),
        lines=(Line(bad, [(0, 1)]),),
    )
    assert "<script" not in draw_chart(chart)
    assert bad in texts(chart)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.3, 0.54), (0, 7.5e-4), (1.7, 5.8), (-2, 3), (0, 12345), (0, 0.09)]
)
def test_ticks_are_round_few_and_span_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high - 1e-12
    assert 2 <= len(found) <= 7
    steps = {round(b - a, 12) for a, b in itertools.pairwise(found)}
    mantissa = float(f"{max(steps):e}".split("e")[0])
    assert mantissa == pytest.approx(1) or mantissa in (2, 2.5, 5)


@pytest.mark.parametrize(
    ("most", "words"), [(1_000_000, "1M"), (250_000, "250k"), (9_000, "9000"), (0.5, "0.5")]
)
def test_ticks_are_written_shortly(most: float, words: str) -> None:
    chart = Chart("n", "title", "x", "y", (Line("ours", [(0, 0), (1, most)]),), "")
    assert words in describe(chart)


def test_long_lines_are_thinned_to_means() -> None:
    points = [(float(x), float(x % 2)) for x in range(1000)]
    few = thin(points)
    assert len(few) <= 400
    assert few[0] == pytest.approx((1.0, 1 / 3))
    assert thin(points[:400]) == points[:400]
