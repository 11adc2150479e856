"""COCO-Stuff with its 182 labels brought to 27 classes."""

from pathlib import Path

from patchwise.data.class_list import IGNORED, official_classes
from patchwise.data.label_files import LabelledFolder, Parts, open_listed

# Each of the 27 classes and its values in the label files: 12 of things, which are runs of
# 0 to 90, and 15 of stuff, from 91 to 181. (COCO-Stuff's own list of labels counts from 1.)
CLASSES: dict[str, tuple[int, ...]] = {
    "electronic": tuple(range(71, 77)),
    "appliance": tuple(range(77, 83)),
    "food": tuple(range(51, 61)),
    "furniture": tuple(range(61, 71)),
    "indoor": tuple(range(83, 91)),
    "kitchen": tuple(range(43, 51)),
    "accessory": tuple(range(25, 33)),
    "animal": tuple(range(15, 25)),
    "outdoor": tuple(range(9, 15)),
    "person": (0,),
    "sports": tuple(range(33, 43)),
    "vehicle": tuple(range(1, 9)),
    "ceiling": (101, 102),
    "floor": (100, 113, 114, 115, 116, 117),
    "food stuff": (120, 121, 152, 169),
    "furniture stuff": (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164),
    "raw material": (99, 131, 138, 142),
    "textile": (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167),
    "wall": (170, 171, 172, 173, 174, 175, 176),
    "window": (179, 180),
    "building": (94, 95, 127, 150, 157, 165),
    "ground": (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158),
    "plant": (93, 96, 118, 123, 128, 133, 141, 162, 168),
    "sky": (105, 156),
    "solid": (126, 134, 149, 159, 161, 181),
    "structural": (98, 112, 137, 145, 163),
    "water": (119, 147, 154, 177, 178),
}
_LISTS = ("Coco164kFull_Stuff_Coarse", "Coco164kFull_Stuff_Coarse_7")


def open_coco_stuff_27(root: Path) -> Parts:
    """Open ``images/<part>`` and ``annotations/<part>`` by the lists in ``curated/<part>``.

    Parts are ``train2017`` with ``Coco164kFull_Stuff_Coarse.txt`` (97,702 of 118,287 images) and
    ``val2017`` with ``Coco164kFull_Stuff_Coarse_7.txt``, as in STEGO; PiCIE takes the second list
    for both parts. It changes the number, so the lists stand in the name. 255 is ignored. Values
    that COCO-Stuff does not have are errors.

    Source: Caesar et al. 2018, arXiv:1612.03716, for labels and their hierarchy; Ji et al. 2019,
    arXiv:1807.06653 (IIC), for the order of the classes and the lists; PiCIE and STEGO use both.
    Differs: STEGO takes unknown values for class 0.

    Raises:
        DataError: Something is missing or wrong.
    """
    class_of = {value: place for place, name in enumerate(CLASSES) for value in CLASSES[name]}
    parts = ("train2017", "val2017")
    classes = official_classes(tuple(CLASSES), class_of, [IGNORED], parts=parts)

    def open_part(part: str, listed: str) -> LabelledFolder:
        path = root / "curated" / part / f"{listed}.txt"
        return open_listed(root / "images" / part, root / "annotations" / part, path, classes)

    fit, test = map(open_part, parts, _LISTS)
    return Parts(f"COCO-Stuff-27 ({', '.join(_LISTS)})", classes, fit, test)
