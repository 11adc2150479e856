"""Cityscapes with its fine labels: the 19 classes that are scored."""

from pathlib import Path

from patchwise.data.class_list import IGNORED, ClassList, official_classes
from patchwise.data.label_files import LabelledFolder, Parts, open_matched

# Each scored class and its value in *_labelIds.png, in the order of the train ids.
CLASSES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32,
    "bicycle": 33,
}  # fmt: skip
_VALUES = 34  # of *_labelIds.png: 0 to 33


def open_cityscapes(root: Path) -> Parts:
    """Open ``leftImg8bit/<part>/<city>/...`` with ``gtFine/<part>/<city>/*_labelIds.png``.

    Where there is no such file for training, ``*_labelTrainIds.png`` are taken, and the name says
    so. Parts are ``train`` and ``val``. Values of classes that are not scored are ignored; others
    than those of Cityscapes are errors.

    Source: Cordts et al. 2016, arXiv:1604.01685, and its cityscapesScripts (labels.py).

    Raises:
        DataError: Something is missing or wrong.
    """
    of_ids = any((root / "gtFine" / "train").glob("*/*_gtFine_labelIds.png"))
    of_train_ids = any((root / "gtFine" / "train").glob("*/*_gtFine_labelTrainIds.png"))
    kind = "labelTrainIds" if of_train_ids and not of_ids else "labelIds"
    classes = _classes(kind)

    def open_part(part: str) -> LabelledFolder:
        endings = ("_leftImg8bit.png", f"_gtFine_{kind}.png")
        images, labels = root / "leftImg8bit" / part, root / "gtFine" / part
        return open_matched(images, labels, classes, endings=endings)

    name = "Cityscapes" if kind == "labelIds" else f"Cityscapes ({kind})"
    return Parts(name, classes, open_part(classes.fit), open_part(classes.test))


def _classes(kind: str) -> ClassList:
    values = list(CLASSES.values()) if kind == "labelIds" else list(range(len(CLASSES)))
    others = set(range(_VALUES)) - set(values) if kind == "labelIds" else set()
    return official_classes(
        tuple(CLASSES),
        {value: place for place, value in enumerate(values)},
        {*others, IGNORED},
        parts=("train", "val"),
    )
