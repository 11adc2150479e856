"""Scoring a backbone by a named protocol."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from patchwise.api.models import Model, open_subject
from patchwise.checks import check_choice
from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.data.segmentation import SegmentationData, is_segmentation, open_segmentation
from patchwise.errors import DataError
from patchwise.eval.presets import (
    LARGEST_SHORT_PX,
    PROTOCOLS,
    Facts,
    OfImages,
    OfPixels,
    make_protocol,
)
from patchwise.eval.results import Result, SegmentationResult, dump_result
from patchwise.features.subject import Subject
from patchwise.files import write_text

LabelledSets = LabelledData | SegmentationData
_SHORT: dict[str, tuple[str, ...]] = {
    "labelled": ("knn/dino-short",),
    "segmentation": ("knn/patches-short", "incontext/hummingbird-short", "linseg/cotap-short"),
}
_MEASURED = 16  # images whose size is looked at


def evaluate(
    model: Model,
    *,
    protocol: str,
    data: str | Path | LabelledSets,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    device: str | None = None,
) -> Result:
    """Score a backbone by a named protocol.

    Args:
        model: A weights file, or a backbone: anything with ``dim``, ``patch_px`` and ``device``
            that maps normalised images to CLS and patch features. A module is put into eval mode.
        protocol: Name of the protocol; `patchwise list protocols` shows them.
        data: For protocols of images, see `open_labelled_data`; for protocols of pixels, see
            `open_segmentation`. Both take published data sets as they are unpacked.
        settings: Settings of the protocol to change, by name. The result says so.
        name: What the result calls the model; by default its file, or its class.
        device: Where a weights file is loaded to; None: a GPU if there is one. A backbone stays
            where it is.

    Returns:
        Scores in [0, 1], with everything that stands behind them.

    Raises:
        PatchwiseError: Model, data or settings cannot be used; the message says what to do.
    """
    check_choice("evaluate", PROTOCOLS, protocol=protocol)
    opened = open_labels(data, PROTOCOLS[protocol].kind) if isinstance(data, (str, Path)) else data
    subject = open_subject(model, name=name, device=device)
    return score(subject, opened, protocol, settings=settings)


def score(
    subject: Subject,
    data: LabelledSets,
    protocol: str,
    *,
    settings: Mapping[str, Any] | None = None,
    largest_px: int = LARGEST_SHORT_PX,
) -> Result:
    """Score a model on labelled images that are open; short forms see ``largest_px`` at most."""
    backbone = subject.backbone
    facts = Facts(min(_short_side_px(data), largest_px), backbone.patch_px, backbone.dim)
    chosen = make_protocol(protocol, facts, dict(settings or {}))
    if isinstance(chosen, OfImages) and isinstance(data, LabelledData):
        return chosen.run(subject, data)
    if isinstance(chosen, OfPixels) and isinstance(data, SegmentationData):
        return chosen.run(subject, data)
    raise DataError(
        f"evaluate: data of {protocol} must be {PROTOCOLS[protocol].kind} images, "
        f"got {type(data).__name__}"
    )


def open_labels(data: str | Path, kind: str | None = None, *, scene_px: int = 64) -> LabelledSets:
    """Open labelled data of a kind; by default, of the kind that it looks like."""
    if kind is None:
        kind = "segmentation" if is_segmentation(data) else "labelled"
    if kind == "segmentation":
        return open_segmentation(data, size_px=scene_px)
    return open_labelled_data(data)


def short_protocols(data: LabelledSets) -> tuple[str, ...]:
    """Return the protocols that score a run, for this kind of data; the first is a quick one."""
    return _SHORT["segmentation" if isinstance(data, SegmentationData) else "labelled"]


def describe_result(result: Result) -> Table:
    """Return the scores of a result, and what stands behind them."""
    mark = result.fingerprint
    table = Table("", "", title=Text(mark.preset), show_header=False)

    def add(name: str, value: object) -> None:
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(Text(name), Text(shown))

    for name, value in dump_result(result).items():
        if isinstance(value, (float, int)):
            add(name, value)
    if isinstance(result, SegmentationResult):
        for name, iou in result.iou.items():
            add(f"IoU of {name}", "absent" if iou is None else iou)
    table.add_section()
    for name, setting in mark.settings.items():
        add(name, setting)
    add("data", f"{mark.data.name}: {mark.data.test} images, {mark.data.fit} to learn from")
    add("model", f"{mark.model.name} {(mark.model.sha256 or '')[:12]}")
    add("cost", f"{mark.seconds:.1f} s, {mark.peak_bytes / 2**30:.2f} GiB, {mark.device}")
    return table


def save_result(result: Result, path: str | Path) -> None:
    """Write a result with its fingerprint as JSON.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        write_text(Path(path).expanduser(), json.dumps(dump_result(result), indent=2) + "\n")
    except OSError as error:
        raise DataError(f"evaluate: out must be a file that can be written, got {error}") from error


def _short_side_px(data: LabelledSets) -> int:
    number = len(data.fit)
    chosen = np.linspace(0, number - 1, num=min(number, _MEASURED)).astype(int).tolist()
    if isinstance(data, SegmentationData):
        sides = [min(data.fit.read(index)[0].shape[:2]) for index in chosen]
    else:
        sides = [min(data.fit.read(index).shape[:2]) for index in chosen]
    return int(np.median(sides))
