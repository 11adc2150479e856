"""Line charts as inline SVG: text stays text, and colours are those of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 360, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 12, 44  # margins of the plot
_MOST_POINTS = 400


@dataclass(frozen=True)
class Line:
    """Values over steps."""

    name: str
    points: Points  # (x, y), x rising
    marked: bool = False  # a dot at every point: there are few


@dataclass(frozen=True)
class Chart:
    """Lines over the same axes, with their words."""

    name: str  # address on the page
    title: str
    x_label: str
    y_label: str  # with the unit
    lines: tuple[Line, ...]
    meaning: str  # how to read it
    levels: tuple[tuple[float, str], ...] = ()  # horizontal lines with their names
    moments: tuple[float, ...] = ()  # places on the x axis that are marked: warnings
    from_zero: bool = False


def draw_chart(chart: Chart) -> Markup:
    """Return the chart as an SVG element with a title and a description for screen readers."""
    x_ends, y_ends = _ends(chart)
    x_ticks, y_ticks = ticks(*x_ends), ticks(*y_ends)
    y_ends = (min(y_ends[0], y_ticks[0]), max(y_ends[1], y_ticks[-1]))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ends[0]) / (x_ends[1] - x_ends[0])
        up = (y - y_ends[0]) / (y_ends[1] - y_ends[0])
        plot = (_WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across * plot[0], 1), round(_TOP + (1 - up) * plot[1], 1)

    parts = [_axes(chart, [(t, place(t, 0)[0]) for t in x_ticks],
                   [(t, place(0, t)[1]) for t in y_ticks])]  # fmt: skip
    for level, name in chart.levels:
        y = place(0, level)[1]
        above = y - 4 if y > _TOP + 14 else y + 13
        parts.append(
            Markup('<path class="level" d="M{} {}H{}"/><text class="note" x="{}" y="{}">{}</text>')
            .format(_LEFT, y, _WIDTH - _RIGHT, _LEFT + 6, above, name)
        )  # fmt: skip
    for moment in chart.moments:
        x = place(moment, 0)[0]
        parts.append(Markup('<path class="moment" d="M{} {}V{}"/>').format(
            x, _TOP, _HEIGHT - _BOTTOM))  # fmt: skip
    for number, line in enumerate(chart.lines):
        dots = [place(x, y) for x, y in thin(line.points)]
        path = "M" + "L".join(f"{x} {y}" for x, y in dots)
        parts.append(Markup('<path class="line line{}" d="{}"/>').format(number % 3, path))
        if line.marked or len(dots) == 1:
            parts += [Markup('<circle class="dot line{}" cx="{}" cy="{}" r="3"/>')
                      .format(number % 3, x, y) for x, y in dots]  # fmt: skip
    head = Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-labelledby="{}-t {}-d">'
        '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>'
    ).format(_WIDTH, _HEIGHT, *[chart.name] * 3, chart.title, chart.name, describe(chart))
    return head + Markup("").join(parts) + Markup("</svg>")


def describe(chart: Chart) -> str:
    """Return in words where the lines begin and end, and their extremes."""
    said = []
    for line in chart.lines:
        values = [y for _, y in line.points]
        said.append(
            f"{line.name}: {_short(values[0])} at first, {_short(values[-1])} at last, "
            f"between {_short(min(values))} and {_short(max(values))}"
        )
    return f"{chart.y_label} over {chart.x_label}. " + "; ".join(said) + "."


def thin(points: Points) -> Points:
    """Return at most 400 points: means of as many consecutive ones each."""
    size = -(-len(points) // _MOST_POINTS)
    if size <= 1:
        return points
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p)) for p in parts]


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Return 2 to ``most`` + 1 round numbers that span [low, high]; 1, 2, 2.5 or 5 apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _ends(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    xs = [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in thin(line.points)]
    ys += [level for level, _ in chart.levels]
    if chart.from_zero:
        ys.append(0.0)
    return (0.0, max(*xs, 1.0)), _apart(min(ys), max(ys))


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return ends that differ, also where all values are the same."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    return low - max(abs(low), 1e-6) / 10, high + max(abs(high), 1e-6) / 10


def _axes(
    chart: Chart, x_ticks: list[tuple[float, float]], y_ticks: list[tuple[float, float]]
) -> Markup:
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for value, y in y_ticks:
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y + 4}">{_short(value)}</text>')
    for value, x in x_ticks:
        if x <= _WIDTH - _RIGHT + 1:
            parts.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
            parts.append(f'<text class="tick mid" x="{x}" y="{bottom + 17}">{_short(value)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}"/>')
    across, down = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + bottom) / 2
    parts.append(
        f'<text class="label mid" x="{across}" y="{_HEIGHT - 8}">{escape(chart.x_label)}</text>'
    )
    parts.append(
        f'<text class="label mid" transform="translate(13 {down}) rotate(-90)">'
        f"{escape(chart.y_label)}</text>"
    )
    return Markup("".join(parts))


def _short(value: float) -> str:
    """Return a number as a person would write it on an axis."""
    if value == 0:
        return "0"
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{float(f'{value:.3g}'):g}" if abs(value) < 1000 else f"{value:.0f}"
