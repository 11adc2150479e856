"""Time and memory of every protocol, each in a process of its own.

    python -m benchmarks.protocols [PROTOCOL ...]

The set-up: a random ViT-S/16; 128 images to learn from and 32 to be scored on, JPEGs of
500 x 375 px, as those of VOC, with PNGs of 21 classes or in folders of 8; for protocols without
labels the 128. Protocols that train would take hours: they are run with few steps or epochs, twice,
and the seconds of a step and those besides follow; the total is the straight line through them.
Seconds are those of the processor, summed over threads, so that other programs count little.
Testing after every epoch is left out. A step is that of the named settings, whatever the data; an
epoch is that of 128 images. Memory is the most that the process held, torch and model with it:
more steps do not raise it.

A line is printed as soon as it is known, as a row of a Markdown table.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import patchwise
from benchmarks.measuring import machine, run_alone
from patchwise.configs.backbone import vit_config
from patchwise.eval.presets import PROTOCOLS, Facts
from patchwise.models.vit import ViT

FIT, TEST, CLASSES, FOLDERS = 128, 32, 21, 8
PATCH_PX, SIDE_PX, DIM = 16, 375, 384
# Run as they are, though they train: their steps take no time.
WHOLE = ("linear/cotap", "linear/cotap-short")
UNITS, FEW = ("steps", "epochs"), (1, 2)


@dataclass(frozen=True)
class Cost:
    """What a protocol takes."""

    besides_s: float  # reading labels, testing, ...
    unit: str | None  # what is repeated
    unit_s: float
    units: int

    @property
    def total_s(self) -> float:
        return self.besides_s + self.unit_s * self.units


def make_images(folder: Path) -> None:
    """Save images of smooth noise, which compress about as photographs do, in both layouts."""
    draw = np.random.default_rng(0)
    for part, count in (("train", FIT), ("val", TEST)):
        for index in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (47, 63, 3)).astype(np.uint8))
            image = coarse.resize((500, SIDE_PX), Image.Resampling.BICUBIC)
            blocks = Image.fromarray(draw.integers(0, CLASSES, (5, 7)).astype(np.uint8))
            label = blocks.resize((500, SIDE_PX), Image.Resampling.NEAREST)
            places = [
                folder / "pixels/images" / part,
                folder / "classes" / part / f"c{index % FOLDERS}",
            ]
            (folder / "pixels/labels" / part).mkdir(parents=True, exist_ok=True)
            for place in places:
                place.mkdir(parents=True, exist_ok=True)
                image.save(place / f"{index}.jpg", quality=90)
            label.save(folder / "pixels/labels" / part / f"{index}.png")
    names = ", ".join(f"class{c}" for c in range(CLASSES))
    (folder / "pixels/classes.yaml").write_text(f"classes: [{names}]\n")


def run_one(protocol: str, data: str, settings: dict[str, Any]) -> None:
    """Run a protocol in this process and print its seconds."""
    config = replace(vit_config("small", patch_px=PATCH_PX, image_px=224), drop_path=0.0)
    torch.manual_seed(0)
    model = ViT(config).eval()
    start = time.process_time()
    patchwise.evaluate(model, protocol=protocol, data=data, settings=settings)
    print(json.dumps(time.process_time() - start))


def measure(protocol: str, data: str) -> tuple[Cost, float]:
    """Return the cost of a protocol and its peak memory, MiB."""
    made = PROTOCOLS[protocol].make(protocol, Facts(224, PATCH_PX, DIM))
    names = {field.name for field in fields(made)}
    unit = next((u for u in UNITS if u in names and protocol not in WHOLE), None)
    if unit is None:
        peak = run_alone("benchmarks.protocols", ["--one", protocol, data, "{}"])
        return Cost(json.loads(peak.text.splitlines()[-1]), None, 0.0, 0), peak.mib
    plain: dict[str, int] = {"every_epoch": False} if "every_epoch" in names else {}
    if "warmup_steps" in names:
        plain["warmup_steps"] = 0
    seconds = []
    for count in FEW:
        settings = json.dumps({**plain, unit: count})
        peak = run_alone("benchmarks.protocols", ["--one", protocol, data, settings])
        seconds.append(json.loads(peak.text.splitlines()[-1]))
    few, more = FEW
    unit_s = (seconds[1] - seconds[0]) / (more - few)
    return Cost(seconds[0] - few * unit_s, unit, unit_s, getattr(made, unit)), peak.mib


def row(protocol: str, cost: Cost, mib: float) -> str:
    """Return a row of the table."""
    repeated = f"{cost.units:,} {cost.unit} of {cost.unit_s:.2f}" if cost.unit else "\u2013"
    sign = "~" if cost.unit else ""
    return (
        f"| `{protocol}` | {cost.besides_s:.1f} | {repeated} | {sign}{cost.total_s:,.0f} "
        f"| {mib / 1024:.2f} |"
    )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        run_one(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
        return
    print(machine())
    print("| protocol | seconds besides | repeated, seconds each | total, s | peak memory, GiB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        places = {
            "labelled": folder / "classes",
            "segmentation": folder / "pixels",
            "images": folder / "pixels/images/train",
        }
        for protocol in sys.argv[1:] or PROTOCOLS:
            kind = PROTOCOLS[protocol].kind
            if kind == "run":  # reads a log
                continue
            try:
                print(row(protocol, *measure(protocol, str(places[kind]))), flush=True)
            except subprocess.CalledProcessError as error:
                print(f"| `{protocol}` | failed: {error} |", flush=True)


if __name__ == "__main__":
    main()
