"""How time and memory of our step of PW-Self grow with prototypes, local views and batch.

Each point is a process of its own. A straight line is fitted to time and to peak memory of each
sweep; R^2 says how straight the points lie.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measuring import run_alone
from benchmarks.setting import Setting
from patchwise.reporting.chart import Chart, Line, draw_chart

SWEEPS: dict[str, tuple[int, ...]] = {
    "prototypes": (1024, 4096, 16384, 65536, 131072, 262144),
    "local_count": (0, 2, 4, 6, 8),
    "batch": (2, 4, 8, 12, 16),
}
_AXES = {"prototypes": "prototypes", "local_count": "local views", "batch": "images in a batch",
         "pairs": "pairs"}  # fmt: skip
_STYLE = (
    "<style>text{font:11px sans-serif}.line{fill:none;stroke:#1f6feb;stroke-width:2}"
    ".dot{fill:#1f6feb}.grid{stroke:#ddd}.axis{fill:none;stroke:#555}"
    ".end{text-anchor:end}.mid{text-anchor:middle}</style>"
)
ArgumentsOf = Callable[[str, Setting, int], list[str]]


def measure_growth(
    sweeps: Sequence[str],
    setting: Setting,
    rounds: int,
    arguments_of: ArgumentsOf,
    charts: Path | None,
) -> list[dict[str, object]]:
    """Print a table for each sweep and return the numbers.

    Args:
        sweeps: What to vary, of `SWEEPS`.
        setting: What else holds.
        rounds: Steps whose median counts.
        arguments_of: Command line of a variant at a setting.
        charts: Folder for an SVG of time and one of memory for each sweep.
    """
    found: list[dict[str, object]] = []
    for sweep in sweeps:
        values = [float(value) for value in SWEEPS[sweep]]
        seconds, peaks = [], []
        print(f"\n{_AXES[sweep]:>18}{'s a step':>10}{'MiB':>9}", flush=True)
        for value in SWEEPS[sweep]:
            changed = vary(setting, sweep, value)
            peak = run_alone("benchmarks.step", arguments_of("pwself", changed, rounds))
            seconds.append(float(peak.text.split()[-1]))
            peaks.append(peak.mib)
            print(f"{value:18,}{seconds[-1]:10.3f}{peaks[-1]:9.0f}", flush=True)
        fits = {"seconds": straightness(values, seconds), "mib": straightness(values, peaks)}
        print(f"R^2 of a straight line: time {fits['seconds']:.4f}, memory {fits['mib']:.4f}")
        found.append({"varied": sweep, "values": values, "seconds": seconds, "mib": peaks,
                      "r_squared": fits})  # fmt: skip
        if charts is not None:
            draw(charts / f"{sweep}-time.svg", sweep, "seconds a step", values, seconds)
            draw(charts / f"{sweep}-memory.svg", sweep, "peak memory, MiB", values, peaks)
    return found


def vary(setting: Setting, sweep: str, value: int) -> Setting:
    """Return the setting with one number changed."""
    if sweep == "prototypes":
        return replace(setting, prototypes=value)
    if sweep == "batch":
        return replace(setting, batch=value)
    return replace(setting, local_count=value)


def straightness(values: Sequence[float], measured: Sequence[float]) -> float:
    """Return R^2 of the straight line that fits best, in [0, 1]; 1 where nothing varies."""
    x, y = np.asarray(values), np.asarray(measured)
    line = np.polynomial.Polynomial.fit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - line(x)) ** 2).sum()) / spread if spread else 1.0


def draw(
    file: Path, sweep: str, label: str, values: Sequence[float], measured: Sequence[float]
) -> None:
    """Write a chart that stands alone."""
    points = list(zip(values, measured, strict=True))
    line = Line("ours", points, marked=True)
    chart = Chart(file.stem, f"{label} by {_AXES[sweep]}", _AXES[sweep], label, (line,), "",
                  from_zero=True)  # fmt: skip
    opened = f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="472">{_STYLE}'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{opened}{draw_chart(chart)}</svg>\n", encoding="utf-8")
