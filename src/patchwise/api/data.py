"""From what a user names as data to what protocols take."""

from pathlib import Path

import numpy as np

from patchwise.api.runs import open_run
from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.data.segmentation import SegmentationData, is_segmentation, open_segmentation
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import DataError
from patchwise.eval.presets import Kind
from patchwise.eval.run_health import RunRecord

LabelledSets = LabelledData | SegmentationData
Opened = LabelledData | SegmentationData | ImageSource | RunRecord
Data = str | Path | Opened
_SHORT: dict[str, tuple[str, ...]] = {
    "labelled": ("knn/dino-short",),
    "segmentation": ("knn/patches-short", "incontext/hummingbird-short", "linseg/cotap-short"),
}
_TYPES: dict[Kind, type[LabelledSets | RunRecord]] = {
    "labelled": LabelledData,
    "run": RunRecord,
    "segmentation": SegmentationData,
}
_WANTED: dict[Kind, str] = {
    "images": "images",
    "labelled": "a class for each image",
    "run": "the log of a run",
    "segmentation": "a class for each pixel",
}
_MEASURED = 16  # images whose size is looked at


def open_data(data: Data, kind: Kind) -> Opened:
    """Open data as protocols of a kind take them.

    Args:
        data: What `open_labels` or `open_source` takes, or what they return.
        kind: With classes of pixels, with a class for each image, images alone, or a run. Images
            alone keep what labels of pixels there are beside them; of images with a class each,
            those that are scored serve.

    Raises:
        DataError: There is nothing of that kind.
    """
    if isinstance(data, (str, Path)):
        if kind == "run":
            return open_run(data)
        if kind == "images":
            return open_images(data)
        if kind == "labelled" and is_segmentation(data):  # whose folders are no classes
            raise DataError(
                f"evaluate: data must have a class for each image, got '{data}' with a class for "
                f"each pixel"
            )
        return open_labels(data, kind)
    if kind == "images" and not isinstance(data, RunRecord):
        return _images(data)
    if isinstance(data, _TYPES.get(kind, ())):
        return data
    raise DataError(f"evaluate: data must have {_WANTED[kind]}, got {type(data).__name__}")


def open_images(data: str | Path) -> ImageSource | SegmentationData:
    """Open images whose labels are not asked for; those of pixels stay beside them."""
    counted = isinstance(data, str) and data.startswith("scenes:")  # COUNT, not a layout's folder
    return open_segmentation(data) if not counted and is_segmentation(data) else open_source(data)


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


def short_side_px(data: LabelledSets | ImageSource) -> int:
    """Return the median of the short sides of some images."""
    if isinstance(data, SegmentationData):
        source: ImageSource = data.fit.images
    else:
        source = data.fit if isinstance(data, LabelledData) else data
    number = len(source)
    chosen = np.linspace(0, number - 1, num=min(number, _MEASURED)).astype(int).tolist()
    return int(np.median([min(source.read(index).shape[:2]) for index in chosen]))


def _images(data: LabelledSets | ImageSource) -> SegmentationData | ImageSource:
    if isinstance(data, LabelledData):
        return data.fit if data.test is None else data.test
    return data
