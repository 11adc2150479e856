"""Pascal VOC 2012, with the augmented training labels if they are there."""

import re
from pathlib import Path

from patchwise.data.class_list import IGNORED, official_classes
from patchwise.data.folder import printable
from patchwise.data.label_files import LabelledFolder, Parts, open_listed, read_names
from patchwise.errors import DataError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
_AUGMENTED = "SegmentationClassAug"
_AUGMENTED_LISTS = ("trainaug.txt", "train_aug.txt")  # both names are about
_NAME = re.compile(rb"\d{4}_\d{6}")  # of 2012: in VOC 2007 it is six digits


def open_voc(root: Path) -> Parts:
    """Open ``JPEGImages``, ``SegmentationClass`` and the lists in ``ImageSets/Segmentation``.

    To learn from: the images of ``trainaug.txt`` (or ``train_aug.txt``) with labels in
    ``SegmentationClassAug`` if both are there, otherwise ``train.txt``. One without the other is an
    error: such a folder was meant to have 10,582 images to learn from, not 1,464. Scored is
    ``val.txt``. 21 classes with the background as class 0; 255, the rims of objects, is ignored.

    Source: Everingham et al., "The Pascal Visual Object Classes Challenge 2012"; the augmented
    labels are those of Hariharan et al. 2011, "Semantic contours from inverse detectors".

    Raises:
        DataError: Something is missing or wrong.
    """
    lists = root / "ImageSets" / "Segmentation"
    found = [lists / name for name in _AUGMENTED_LISTS if (lists / name).exists()]
    augmented = (root / _AUGMENTED).is_dir()
    if augmented != bool(found):
        raise DataError(
            f"open_segmentation: '{root}' must hold both {_AUGMENTED} and "
            f"ImageSets/Segmentation/{_AUGMENTED_LISTS[0]} or neither, got only "
            f"{_AUGMENTED if augmented else found[0].name}; add the other, or move it away to "
            f"learn from train.txt"
        )
    part = "trainaug" if augmented else "train"
    classes = official_classes(
        CLASSES,
        {value: value for value in range(len(CLASSES))},
        [IGNORED],
        parts=(part, "val"),
        background=0,
    )

    def open_part(labels: str, listed: Path) -> LabelledFolder:
        _check_year(listed)
        return open_listed(root / "JPEGImages", root / labels, listed, classes)

    fit = (_AUGMENTED, found[0]) if augmented else ("SegmentationClass", lists / "train.txt")
    test = open_part("SegmentationClass", lists / "val.txt")
    return Parts(f"VOC 2012 ({part})", classes, open_part(*fit), test)


def _check_year(listed: Path) -> None:
    wrong = [name for name in read_names(listed) if not _NAME.fullmatch(name)]
    if wrong:
        raise DataError(
            f"open_segmentation: names in '{listed}' must be those of VOC 2012, such as "
            f"2007_000032, got {printable(wrong[0])!r}"
        )
