"""A step of training, views made before: plain reference, floor, ours, and a library's DINO.

    python -m benchmarks.step --prototypes 10000 65536 --precision float32 bf16 --out step.json
    python -m benchmarks.step --growth prototypes batch --out growth.json

Without ``--growth``: peak memory of each variant in a process of its own (two steps), then all
variants in turn within each round, medians of the rounds. ViT-Ti/16, batch 8, 2 x 224 + 8 x 96 px.

- reference: PW-Self in plain PyTorch, `benchmarks.reference`.
- floor: the products that PW-Self needs, `benchmarks.floor`.
- pwself, dino: ours, `benchmarks.setting`.
- lightly-dino: `benchmarks.lightly_dino`, where lightly, timm and torchvision can be imported.
- reference-views, views (only if asked for by ``--only``): making the views of a step, by Pillow
  one after the other, and ours; not part of any step.

With ``--growth``: time and peak memory of ours, see `benchmarks.growth`. All variants see the same
images, and views of the same sizes. Two configurations at 65,536 prototypes take about ten minutes.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from benchmarks.floor import build_floor
from benchmarks.growth import SWEEPS, measure_growth
from benchmarks.lightly_dino import build_lightly_dino, missing
from benchmarks.measuring import ROUNDS, machine, run_alone, seconds_in_turn
from benchmarks.reference import Reference
from benchmarks.reference_views import build_reference_views
from benchmarks.setting import Act, Setting, build_ours, build_views

MEMORY_STEPS = 2


def build_reference(setting: Setting) -> Act:
    """Return a step of the plain reference; it matches patches within the step."""
    config, views = setting.config("pwself"), setting.views()
    half = setting.precision == "bf16"
    reference = Reference(config.backbone, config.method, bf16=half)  # type: ignore[arg-type]
    return lambda: reference.step(views)


VARIANTS: dict[str, Callable[[Setting], Act]] = {
    "reference": build_reference,
    "floor": build_floor,
    "pwself": lambda setting: build_ours(setting, "pwself"),
    "pwself-lean": lambda setting: build_ours(replace(setting, lean=True), "pwself"),
    "dino": lambda setting: build_ours(setting, "dino"),
    "lightly-dino": build_lightly_dino,
    "reference-views": build_reference_views,
    "views": build_views,
}
ASKED_FOR = ("reference-views", "views")


@dataclass(frozen=True)
class Measured:
    """What one variant took."""

    variant: str
    setting: Setting
    seconds: float  # a step
    peak_mib: float  # of its process

    @property
    def images_per_s(self) -> float:
        """Speed of training, without making views."""
        return self.setting.batch / self.seconds


def arguments_of(variant: str, setting: Setting, rounds: int) -> list[str]:
    """Return the command line that runs one variant alone."""
    given = [
        *("--alone", variant, "--prototypes", str(setting.prototypes)),
        *("--precision", setting.precision, "--batch", str(setting.batch)),
        *("--locals", str(setting.local_count), "--rounds", str(rounds)),
        *("--threads", str(torch.get_num_threads())),
    ]
    flags = {"--shared-geometry": setting.shared_geometry, "--recolour": setting.recolour_patches}
    return given + [flag for flag, wanted in flags.items() if wanted]


def measure(names: list[str], settings: list[Setting], rounds: int) -> list[Measured]:
    """Measure variants at settings, memory first: a child's peak counts what its parent held."""
    peaks = {
        (name, setting): run_alone("benchmarks.step", arguments_of(name, setting, 1)).mib
        for setting in settings
        for name in names
    }
    found = []
    for setting in settings:
        acts: Mapping[str, Act] = {name: VARIANTS[name](setting) for name in names}
        for name, seconds in seconds_in_turn(acts, rounds=rounds).items():
            found.append(Measured(name, setting, seconds, peaks[name, setting]))
        print(table(found[-len(names) :]), flush=True)
    return found


def table(found: list[Measured]) -> str:
    """Return speeds of one setting, and their ratios to the reference and to the floor."""
    setting, seconds = found[0].setting, {m.variant: m.seconds for m in found}
    lines = [f"\nK {setting.prototypes:,}, {setting.precision}, batch {setting.batch}"]
    lines.append(
        f"{'':16}{'images/s':>10}{'s a step':>10}{'MiB':>9}{'x reference':>13}{'x floor':>9}"
    )
    for m in found:
        ratios = [_ratio(seconds, "reference", m.variant), _ratio(seconds, m.variant, "floor")]
        lines.append(
            f"{m.variant:16}{m.images_per_s:10.2f}{m.seconds:10.3f}{m.peak_mib:9.0f}"
            f"{ratios[0]:>13}{ratios[1]:>9}"
        )
    lines.append(f"time of pwself / dino: {_ratio(seconds, 'pwself', 'dino')}")
    lines.append(f"speed of dino / lightly-dino: {_ratio(seconds, 'lightly-dino', 'dino')}")
    return "\n".join(lines)


def _ratio(seconds: Mapping[str, float], above: str, below: str) -> str:
    if above not in seconds or below not in seconds:
        return "-"
    return f"{seconds[above] / seconds[below]:.2f}"


def run_one(variant: str, setting: Setting, rounds: int) -> None:
    """Print the median time of a step; the process ends after it, and its peak memory is read."""
    act, taken = VARIANTS[variant](setting), []
    for _ in range(max(MEMORY_STEPS, rounds + 1)):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    print(statistics.median(taken[1:]))


def main() -> None:
    """Read the command line, measure, print, write."""
    options = _parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = [
        Setting(
            prototypes=k,
            precision=precision,
            batch=options.batch,
            local_count=options.locals,
            shared_geometry=options.shared_geometry,
            recolour_patches=options.recolour,
        )
        for k in options.prototypes
        for precision in options.precision
    ]
    if options.alone:
        run_one(options.alone, settings[0], options.rounds)
        return
    print(machine(), flush=True)
    if options.growth:
        record: dict[str, object] = {
            "growth": measure_growth(
                options.growth, settings[0], options.rounds, arguments_of, options.charts
            )
        }
    else:
        names = [name for name in VARIANTS if name in options.only]
        if "lightly-dino" in names and missing():
            names.remove("lightly-dino")
            print(f"lightly-dino is skipped: it needs {', '.join(missing())} importable")
        found = measure(names, settings, options.rounds)
        record = {"steps": [{**asdict(m), "images_per_s": m.images_per_s} for m in found]}
    if options.out:
        text = json.dumps({"machine": machine(), "rounds": options.rounds, **record}, indent=1)
        options.out.write_text(text + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    defaults = {field.name: field.default for field in fields(Setting)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step")
    add = parser.add_argument
    add("--prototypes", type=int, nargs="+", default=[defaults["prototypes"]])
    add("--precision", nargs="+", choices=["float32", "bf16"], default=["float32"])
    add("--rounds", type=int, default=ROUNDS)
    add("--only", nargs="+", choices=VARIANTS, default=[v for v in VARIANTS if v not in ASKED_FOR])
    add("--batch", type=int, default=defaults["batch"])
    add("--locals", type=int, default=defaults["local_count"], help="local views of an image")
    add("--shared-geometry", action="store_true", help="one draw of crops for a batch")
    add("--recolour", action="store_true", help="recolour patches; for the making of views")
    add("--threads", type=int, default=0, help="of torch; 0: as torch has it")
    add("--growth", nargs="+", choices=SWEEPS, help="what to vary, for ours alone")
    add("--charts", type=Path, help="folder for the charts of --growth")
    add("--alone", choices=VARIANTS, help="run one variant, print its time")
    add("--out", type=Path, help="JSON file for the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
