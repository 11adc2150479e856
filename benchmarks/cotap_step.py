"""A step of CoTAP against its floor, the making of views and assignments on their own.

    python -m benchmarks.cotap_step --size paper small --precision float32 bf16 --out cotap.json

Peak memory of each variant in a process of its own (two steps), then all variants in turn within
each round, medians of the rounds; seconds are the processor's, whatever else the machine does.
Queues and bank are full; see `benchmarks.cotap_setting` for the sizes.

- floor: the products that CoTAP needs, `benchmarks.cotap_floor`.
- step: a whole step of training but for the views, which are made once, before.
- whole: views included.
- views: making them. They belong to no floor.
- assignments: of the teacher's patches and CLS, over the queues: a part of the step.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch

from benchmarks.cotap_floor import build_floor
from benchmarks.cotap_setting import SIZES, CoTAPSetting, make_views, method_of
from benchmarks.measuring import ROUNDS, machine, run_alone, times_in_turn
from benchmarks.setting import Act
from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.ops.sinkhorn import sinkhorn
from patchwise.training.engine import Precision

MEMORY_STEPS = 2


def build_step(setting: CoTAPSetting, *, with_views: bool = False) -> Act:
    """Return a step of training."""
    training, batch = setting.training(), setting.batches()
    if not with_views:
        method = method_of(training)
        made = make_views(method, batch)
        method.make_views = lambda batch, step: made  # type: ignore[method-assign]
    return lambda: training.step(batch)


def build_views(setting: CoTAPSetting) -> Act:
    """Return what makes the views of a step."""
    method, batch = method_of(setting.training(queued=False)), setting.batches()
    return lambda: make_views(method, batch)


def build_assignments(setting: CoTAPSetting) -> Act:
    """Return what assigns the teacher's scores of a step."""
    method = method_of(setting.training())
    config, images = method.config, GLOBAL_VIEWS * setting.images
    patches = images * (config.views.global_px // method.backbone.patch_px) ** 2
    parts = [
        (method.patch_queue, patches, config.patch_temperature),
        (method.image_queue, images, config.image_temperature),
    ]
    drawn = [torch.rand(rows, queue.scores.stored.shape[1]) for queue, rows, _ in parts]

    def run() -> None:
        for scores, (queue, _, temperature) in zip(drawn, parts, strict=True):
            sinkhorn(
                scores,
                queue.scores.stored,
                temperature=temperature,
                iterations=config.sinkhorn_iterations,
            )

    return run


VARIANTS: dict[str, Callable[[CoTAPSetting], Act]] = {
    "floor": build_floor,
    "step": build_step,
    "whole": lambda setting: build_step(setting, with_views=True),
    "views": build_views,
    "assignments": build_assignments,
}


@dataclass(frozen=True)
class Measured:
    """What one variant took."""

    variant: str
    setting: CoTAPSetting
    cpu_s: float
    wall_s: float
    peak_mib: float  # of its process

    @property
    def images_per_s(self) -> float:
        """Images of both sets, neighbours not counted, in a second of the processor."""
        return self.setting.images / self.cpu_s


def arguments_of(variant: str, setting: CoTAPSetting) -> list[str]:
    """Return the command line that runs one variant alone."""
    return [
        *("--alone", variant, "--size", setting.size, "--precision", setting.precision),
        *("--batch", str(setting.batch)),
    ]


def measure(names: list[str], setting: CoTAPSetting, rounds: int) -> list[Measured]:
    """Measure variants, memory first: a child's peak counts what its parent held."""
    peaks = {
        name: run_alone("benchmarks.cotap_step", arguments_of(name, setting)).mib for name in names
    }
    acts = {name: VARIANTS[name](setting) for name in names}
    return [
        Measured(name, setting, times.cpu_s, times.wall_s, peaks[name])
        for name, times in times_in_turn(acts, rounds=rounds).items()
    ]


def table(found: list[Measured]) -> str:
    """Return times, speeds, and ratios to the floor."""
    setting, seconds = found[0].setting, {m.variant: m.cpu_s for m in found}
    lines = [f"\n{setting.size}, {setting.precision}, {setting.images // 2} images of each set"]
    lines.append(f"{'':12}{'images/s':>10}{'cpu s':>9}{'wall s':>9}{'MiB':>8}{'x floor':>9}")
    lines += [
        f"{m.variant:12}{m.images_per_s:10.2f}{m.cpu_s:9.3f}{m.wall_s:9.3f}{m.peak_mib:8.0f}"
        f"{_ratio(seconds, m.variant, 'floor'):>9}"
        for m in found
    ]
    return "\n".join(lines)


def _ratio(seconds: Mapping[str, float], above: str, below: str) -> str:
    if above not in seconds or below not in seconds:
        return "-"
    return f"{seconds[above] / seconds[below]:.2f}"


def run_one(variant: str, setting: CoTAPSetting) -> None:
    """Make two steps; the process ends after them, and its peak memory is read."""
    act = VARIANTS[variant](setting)
    for _ in range(MEMORY_STEPS):
        act()


def main() -> None:
    """Read the command line, measure, print, write."""
    options = _parse()
    settings = [
        CoTAPSetting(size, precision, options.batch)
        for size in options.size
        for precision in options.precision
    ]
    if options.alone:
        run_one(options.alone, settings[0])
        return
    print(machine(), flush=True)
    found = []
    for setting in settings:
        found.append(measure(options.only, setting, options.rounds))
        print(table(found[-1]), flush=True)
    if options.out:
        steps = [{**asdict(m), "images_per_s": m.images_per_s} for some in found for m in some]
        record = {"machine": machine(), "rounds": options.rounds, "steps": steps}
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cotap_step")
    add = parser.add_argument
    add("--size", nargs="+", choices=SIZES, default=SIZES)
    add("--precision", nargs="+", choices=get_args(Precision), default=["float32"])
    add("--batch", type=int, default=0, help="images of each set; 0: 4 (paper), 32 (small)")
    add("--rounds", type=int, default=ROUNDS)
    add("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    add("--alone", choices=VARIANTS, help="run one variant twice")
    add("--out", type=Path, help="JSON file for the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
