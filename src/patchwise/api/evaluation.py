"""Scoring a backbone by a named protocol."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from patchwise.api.models import Model, open_subject
from patchwise.api.runs import open_run, run_folder
from patchwise.checks import check_choice
from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.data.segmentation import SegmentationData, is_segmentation, open_segmentation
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import DataError
from patchwise.eval.presets import (
    LARGEST_SHORT_PX,
    PROTOCOLS,
    Facts,
    OfImages,
    OfPixels,
    Unlabelled,
    make_protocol,
)
from patchwise.eval.results import Result, SegmentationResult, dump_result
from patchwise.eval.run_health import HealthRun
from patchwise.features.subject import Subject
from patchwise.files import write_text

LabelledSets = LabelledData | SegmentationData
Opened = LabelledSets | ImageSource
_SHORT: dict[str, tuple[str, ...]] = {
    "labelled": ("knn/dino-short",),
    "segmentation": ("knn/patches-short", "incontext/hummingbird-short", "linseg/cotap-short"),
}
_MEASURED = 16  # images whose size is looked at


def evaluate(
    model: Model,
    *,
    protocol: str,
    data: str | Path | Opened | None = None,
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
            `open_segmentation`. Both take published data sets as they are unpacked. For protocols
            of images alone, see `open_source`, or labelled pixels; for those of runs, the folder
            of the run, which may stand as the model and be left out here.
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
    if PROTOCOLS[protocol].kind == "run":
        return _score_run(model if data is None else data, protocol, dict(settings or {}))
    if data is None:
        raise DataError(f"evaluate: data must name images for {protocol}, got None")
    opened: Opened
    if not isinstance(data, (str, Path)):
        opened = data
    elif PROTOCOLS[protocol].kind == "images":
        opened = open_images(data)
    else:
        opened = open_labels(data, PROTOCOLS[protocol].kind)
    subject = open_subject(model, name=name, device=device)
    return score(subject, opened, protocol, settings=settings)


def score(
    subject: Subject,
    data: Opened,
    protocol: str,
    *,
    settings: Mapping[str, Any] | None = None,
    largest_px: int = LARGEST_SHORT_PX,
) -> Result:
    """Score a model on images that are open; short forms see ``largest_px`` at most."""
    backbone = subject.backbone
    facts = Facts(min(_short_side_px(data), largest_px), backbone.patch_px, backbone.dim)
    chosen = make_protocol(protocol, facts, dict(settings or {}))
    if isinstance(chosen, OfImages) and isinstance(data, LabelledData):
        return chosen.run(subject, data)
    if isinstance(chosen, Unlabelled) and not isinstance(data, LabelledData):
        return chosen.run(subject, data)
    if isinstance(chosen, OfPixels) and isinstance(data, SegmentationData):
        return chosen.run(subject, data)
    raise DataError(
        f"evaluate: data of {protocol} must be {PROTOCOLS[protocol].kind} images, "
        f"got {type(data).__name__}"
    )


def open_images(data: str | Path) -> ImageSource | SegmentationData:
    """Open images whose labels are not asked for; those of pixels stay beside them."""
    counted = isinstance(data, str) and data.startswith("scenes:")  # COUNT, not a layout's folder
    return open_segmentation(data) if not counted and is_segmentation(data) else open_source(data)


def _score_run(run: object, protocol: str, settings: dict[str, Any]) -> Result:
    """Read what a run has logged, beside the backbone that it has come to."""
    if not isinstance(run, (str, Path)):
        raise DataError(
            f"evaluate: data of {protocol} must be the folder of a run, got {type(run).__name__}"
        )
    record = open_run(run)
    subject = open_subject(run_folder(run).backbone, device="cpu")
    facts = Facts(subject.backbone.patch_px, subject.backbone.patch_px)
    chosen = make_protocol(protocol, facts, settings)
    assert isinstance(chosen, HealthRun), "the protocol is one of runs"
    return chosen.run(subject, record)


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
        if isinstance(value, (float, int)) or name in ("cause", "message", "objects"):
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


def _short_side_px(data: Opened) -> int:
    if isinstance(data, SegmentationData):
        source: ImageSource = data.fit.images
    else:
        source = data.fit if isinstance(data, LabelledData) else data
    number = len(source)
    chosen = np.linspace(0, number - 1, num=min(number, _MEASURED)).astype(int).tolist()
    return int(np.median([min(source.read(index).shape[:2]) for index in chosen]))
