"""A run as it is written down, without running it."""

from typing import Any

import numpy as np

from patchwise.configs.loader import dump_toml
from patchwise.eval.results import (
    ClassificationResult,
    DataIdentity,
    Evaluation,
    Fingerprint,
    HealthResult,
    SegmentationResult,
)
from patchwise.features.subject import ModelIdentity
from patchwise.pictures.figure import Figure, Line, Row, Scale, Swatch, Table, Tile
from patchwise.reporting.record import RunRecord
from tests.small_runs import run_config

HOSTILE = (
    "<script>alert(1)</script>.png",
    "\"'onerror=alert(2) x='.png",
    "a\nb\u202egnp.exe",
    "</style><img src=x onerror=alert(3)>&amp;.png",
    "{{ 7 * 7 }}.png",
)
VERSION = "patchwise: 0.1.0\ndevice: x86_64\nthreads: 2\nplatform: Linux\ntorch: 2.13.0\n"


def fingerprint(preset: str = "knn/test", **settings: Any) -> Fingerprint:
    return Fingerprint(
        preset=preset,
        version=1,
        settings={"k": 20, "size_px": (64, 48), **settings},
        data=DataIdentity("scenes", 400, 200, "d" * 64),
        model=ModelIdentity("ViT", "a" * 64),
        seed=0,
        device="cpu",
        packages={"torch": "2.13.0"},
        seconds=3.25,
        peak_bytes=2**30,
    )


def knn(subject: str, accuracy: float, **settings: Any) -> Evaluation:
    return Evaluation(
        subject, ClassificationResult(fingerprint(**settings), accuracy, 0.9, 0.4, 100, 200)
    )


def segmentation(subject: str, miou: float) -> Evaluation:
    iou = {"cat": miou, HOSTILE[0]: None}
    mark = fingerprint("segmentation/test")
    return Evaluation(subject, SegmentationResult(mark, miou, iou, 0.75, None))


def health(subject: str) -> Evaluation:
    mark = fingerprint("health/test")
    return Evaluation(subject, HealthResult(mark, 40.25, 20.0, 96, 0.01, 0.0, 0.2, None, 0.5))


def log_lines(*, health: bool = True, warnings: bool = False) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"step": 0, "val/knn_patches": 0.3}]
    for step in range(1, 31):
        line = {
            "step": step, "loss": 3 + 1 / step, "lr": 1e-3 / step, "gradient_norm": 2.0,
            "images_per_s": 100.0 + step, "data_wait_frac": 0.01, "epoch": step / 10,
        }  # fmt: skip
        if health:
            names: tuple[str, ...] = (
                "teacher_entropy",
                "prototype_use",
                "patch_rank",
                "position_bias",
            )
            names += ("agreement", "new_one", "teacher_distance", "update", "centre_offset")
            line |= {f"health/{name}": 1 / (1 + step) for name in names}
        lines.append(line)
    if warnings:
        lines.append({"step": 20, "warning": {"cause": "collapse", "message": HOSTILE[0]}})
    return [*lines, {"step": 30, "val/knn_patches": 0.5}]


def record(**changes: Any) -> RunRecord:
    config = run_config()
    results = {
        "complete": True, "steps": 30, "total_steps": 30, "images": 120, "seconds": 90.0,
        "loss": 3.0, "bad_images": {"tiny": 2}, "evaluations": [],
    }  # fmt: skip
    values: dict[str, Any] = {
        "name": "first",
        "config": config,
        "config_text": dump_toml(config),
        "data": {"data": "scenes:40", "images": 40, "fingerprint": "f"},
        "log": log_lines(),
        "version": VERSION,
        "results": results,
        "evaluations": (knn("before training", 0.3), knn("after training", 0.6)),
    }
    return RunRecord(**{**values, **changes})


def figures() -> list[Figure]:
    """One of every kind of part, named by hostile files."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    flat = np.repeat(np.repeat(noise[:4, :4], 40, axis=0), 40, axis=1)
    rows = tuple(
        Row(name, (Tile(noise, "image", f"alt of {name}"), Tile(flat, name, "map", coarse=True)))
        for name in HOSTILE
    )
    lines = (Line(HOSTILE[0], (0.25, 0.125)), Line("ratio", (0.5, 0.0)))
    table = Table("Distance", ("before", "after"), lines)
    scale = Scale(("#000000", "#ffffff"), "0", "1", "attention")
    return [
        Figure("views", "Views", "caption", "facts", rows, wide=True),
        Figure("dispersion", "Table", "caption", "facts", (), table=table),
        Figure("pca", "Colours", HOSTILE[0], "f", rows, (Swatch("#e69f00", "group 1"),), scale),
    ]
