"""From what a user names as data to what protocols take."""

from pathlib import Path

import numpy as np

from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.data.segmentation import SegmentationData, is_segmentation, open_segmentation
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import DataError
from patchwise.eval.presets import Kind

LabelledSets = LabelledData | SegmentationData
Opened = LabelledData | SegmentationData | ImageSource
Data = str | Path | Opened
_SHORT: dict[str, tuple[str, ...]] = {
    "labelled": ("knn/dino-short",),
    "segmentation": ("knn/patches-short", "incontext/hummingbird-short", "linseg/cotap-short"),
}
_MEASURED = 16  # images whose size is looked at


def open_data(data: Data, kind: Kind) -> Opened:
    """Open data as protocols of a kind take them.

    Args:
        data: What `open_labels` or `open_source` takes, or what they return.
        kind: With classes of pixels, with a class for each image, or images alone; labelled data
            serve as the latter with the images that are scored.

    Raises:
        DataError: There is nothing of that kind.
    """
    if isinstance(data, (str, Path)):
        if kind == "images":
            return _images(open_segmentation(data)) if is_segmentation(data) else open_source(data)
        if kind == "labelled" and is_segmentation(data):  # whose folders are no classes
            raise DataError(
                f"evaluate: data must have a class for each image, got '{data}' with a class for "
                f"each pixel"
            )
        return open_labels(data, kind)
    if kind == "images":
        return _images(data)
    if isinstance(data, SegmentationData if kind == "segmentation" else LabelledData):
        return data
    wanted = "a class for each pixel" if kind == "segmentation" else "a class for each image"
    raise DataError(f"evaluate: data must have {wanted}, got {type(data).__name__}")


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


def short_side_px(data: Opened) -> int:
    """Return the median of the short sides of some images."""
    if isinstance(data, SegmentationData):
        source: ImageSource = data.fit.images
    else:
        source = data.fit if isinstance(data, LabelledData) else data
    number = len(source)
    chosen = np.linspace(0, number - 1, num=min(number, _MEASURED)).astype(int).tolist()
    return int(np.median([min(source.read(index).shape[:2]) for index in chosen]))


def _images(data: Opened) -> ImageSource:
    if isinstance(data, SegmentationData):
        return data.test.images
    if isinstance(data, LabelledData):
        return data.fit if data.test is None else data.test
    return data
