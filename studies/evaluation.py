"""Protocols on real images: pixels, a random ViT, and a backbone that was trained here.

    PATCHWISE_DATA=FOLDER_OF_TARS python -m studies.sets runs/sets
    patchwise train runs/sets/mix --recipe small --out runs/mix
    patchwise train runs/sets/cifar10/train --recipe small --out runs/cifar10
    python -m studies.evaluation --sets runs/sets --pixels runs/mix --images runs/cifar10

goes on where it was stopped. The images of VOC have at most 256 px on the short side, those of
CamVid are 480 x 360, those of CIFAR-10 32 x 32, and settings are those of short forms, changed: no
number here is one of the literature. Results are written to ``studies/evaluation/``; the table of
docs/real_images.md is printed.
"""

import argparse
from pathlib import Path
from typing import Any

import patchwise
from patchwise.eval.baselines import RawPatches
from patchwise.eval.results import Result, headline
from patchwise.features.subject import Subject
from patchwise.models.backbone import Backbone

RESULTS = Path(__file__).with_suffix("")
SIDE_PX = 128  # about as large as the backbone saw objects in training
SQUARE = {"size_px": SIDE_PX}
IN_CONTEXT = "incontext/hummingbird"
PIXELS: dict[str, dict[str, Any]] = {
    "knn/patches-short": SQUARE,
    f"{IN_CONTEXT}-short": SQUARE,
    f"{IN_CONTEXT}-1of8-short": SQUARE,
    f"{IN_CONTEXT}-1of64-short": SQUARE,
    "overcluster/leopart-short": {**SQUARE, "label_px": SIDE_PX},
    "linseg/cotap-short": {"train_px": SIDE_PX, "test_px": SIDE_PX},
}
FCN = {"train_px": 64, "test_px": 64, "steps": 100, "batch": 16}
SETS: dict[str, dict[str, dict[str, Any]]] = {
    "cifar10": {"knn/dino-short": {}, "linear/cotap-short": {}},
    "voc": {**PIXELS, "fcn/cotap-short": FCN},
    "camvid": PIXELS,
}


def subjects(run: Path, stores: Path) -> dict[str, Subject]:
    """Return whom to score, in the order of the table."""
    backbone = patchwise.load_backbone(run / "backbone.safetensors")
    models: dict[str, Backbone] = {
        "raw RGB patches": RawPatches(backbone.patch_px),
        "random ViT": patchwise.load_backbone(run / "initial.safetensors"),
        "trained": backbone,
    }
    return {
        name: patchwise.open_subject(model, name=name, features=stores)
        for name, model in models.items()
    }


def row(name: str, results: list[Result]) -> str:
    """Return a row of the table: scores with intervals in percent, then the cost of all."""
    cells = []
    for result in results:
        interval = getattr(result, "interval", None)
        spread = f" ({100 * interval.low:.1f}\u2013{100 * interval.high:.1f})" if interval else ""
        cells.append(f"{100 * headline(result)[1]:.1f}{spread}")
    seconds = sum(result.fingerprint.seconds for result in results)
    peak = max(result.fingerprint.peak_bytes for result in results) / 2**30
    return f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {peak:.1f} |"


def main() -> None:
    """Score what is not scored yet, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--pixels", type=Path, required=True, help="run for VOC and CamVid")
    parser.add_argument("--images", type=Path, required=True, help="run for CIFAR-10")
    parser.add_argument("--only", nargs="+", default=list(SETS))
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for data in chosen.only:
        protocols = SETS[data]
        print(f"| {data} | {' | '.join(protocols)} | seconds | GiB |")
        print("|---" * (len(protocols) + 3) + "|")
        run = chosen.images if data == "cifar10" else chosen.pixels
        found: dict[str, list[Result]] = {}
        for protocol, settings in protocols.items():
            for name, subject in subjects(run, chosen.sets / "features").items():
                found.setdefault(name, []).extend(
                    patchwise.evaluate_many(
                        subject,
                        protocols=[protocol],
                        data=chosen.sets / data,
                        settings=settings,
                        out=RESULTS / f"{data}.json",
                    )
                )
        for name, results in found.items():
            print(row(name, results), flush=True)


if __name__ == "__main__":
    main()
