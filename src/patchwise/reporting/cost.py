"""What a run was and what it cost, as short facts."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchwise.reporting.record import RunRecord
from patchwise.reporting.words import duration, gibibytes, whole


@dataclass(frozen=True)
class Fact:
    """A line of a list."""

    name: str
    value: str


def summary(record: RunRecord) -> list[Fact]:
    """Return what the run was."""
    config, views = record.config, record.config.method.views
    vit = config.backbone
    return [
        Fact("Method", f"{config.method.name}, recipe {config.recipe}"),
        Fact("Images", f"{whole(record.data['images'])} of {record.data['data']}"),
        Fact(
            "Backbone",
            f"ViT, {vit.dim} wide, {vit.depth} deep, {vit.heads} heads, patches of "
            f"{vit.patch_px} px",
        ),
        Fact(
            "Views",
            f"2 x {views.global_px} px and {views.local_count} x {views.local_px} px of each image",
        ),
        Fact(
            "Length",
            f"{config.train.epochs:g} epoch{_s(config.train.epochs)} of batch {config.train.batch}",
        ),
        Fact("State", _state(record)),
    ]


def costs(record: RunRecord) -> list[Fact]:
    """Return what the run took: known facts only, none is guessed."""
    batch = record.config.train.batch
    images = record.results["images"] if record.results else record.steps * batch
    facts = [
        Fact("Optimiser steps", whole(record.steps)),
        Fact("Images trained on, with repeats", whole(images)),
    ]
    if record.results:
        seconds = float(record.results["seconds"])
        facts.append(Fact("Time in training steps", duration(seconds)))
        if seconds > 0:
            facts.append(Fact("Speed over all", f"{images / seconds:.0f} images/s"))
    facts += _speeds(record.log) + _recorded(record.results or {})
    known = record.facts
    facts += [
        Fact("Device", f"{record.config.train.device} ({known.get('device', 'unknown')})"),
        Fact("Number format", record.config.train.precision or "not settled"),
    ]
    names = {"threads": "Threads", "platform": "Platform"}
    facts += [Fact(name, known[key]) for key, name in names.items() if key in known]
    bad = (record.results or {}).get("bad_images", {})
    if bad:
        counted = ", ".join(f"{count} {reason}" for reason, count in bad.items())
        facts.append(Fact("Images that could not be used", counted))
    return facts


def versions(record: RunRecord) -> list[Fact]:
    """Return the versions of everything that is known to matter."""
    machine = {"device", "threads", "platform"}
    return [Fact(name, value) for name, value in record.facts.items() if name not in machine]


def _s(count: float) -> str:
    return "" if count == 1 else "s"


def _state(record: RunRecord) -> str:
    if record.results is not None:
        return f"complete, {whole(record.steps)} steps"
    return f"not complete: {whole(record.steps)} steps are logged"


def _speeds(log: Sequence[Mapping[str, Any]]) -> list[Fact]:
    speeds = [float(line["images_per_s"]) for line in log if "images_per_s" in line]
    waits = [float(line["data_wait_frac"]) for line in log if "data_wait_frac" in line]
    facts = []
    if speeds:
        text = f"{statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f}) images/s"
        facts.append(Fact("Speed in the log, median and range", text))
    if waits:
        facts.append(Fact("Time spent waiting for images", f"{statistics.mean(waits):.1%}"))
    return facts


def _recorded(results: Mapping[str, Any]) -> list[Fact]:
    """Return what newer runs write down besides."""
    facts = []
    if results.get("peak_bytes"):
        facts.append(Fact("Peak memory", gibibytes(float(results["peak_bytes"]))))
    return facts
