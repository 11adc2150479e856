"""Images whose every pixel has a class: images, a label PNG for each, and a list of classes."""

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import yaml
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from patchwise.checks import did_you_mean
from patchwise.data.folder import list_folder, printable
from patchwise.data.images import ImageLimits, decode_image
from patchwise.data.synthetic import CATEGORIES, SceneBatch, render_scenes
from patchwise.errors import DataError

IGNORED = 255  # in labels as they are read: a pixel that counts for nothing
CLASS_FILES = ("classes.yaml", "classes.yml", "classes.json")
SCENES_SEED = 2**20  # no training uses it: these scenes are always held out
_FIT_SCENES, _TEST_SCENES = 400, 200
_BLOCK = 32
_ANY_SHAPE = ImageLimits(min_side_px=1, max_aspect=1e9)
_KEYS = ("classes", "ignore", "background", "scored", "fit", "test")


@runtime_checkable
class SegmentationSource(Protocol):
    """Images with a class for every pixel, in an order that never changes."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one image in RGB and its labels: classes from 0, or `IGNORED`."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of the list of images and labels, the same on every machine."""
        ...


@dataclass(frozen=True)
class SegmentationData:
    """Labelled images in two parts: to learn from, and to be scored on."""

    name: str
    classes: tuple[str, ...]
    scored: tuple[int, ...]  # classes that the mean IoU is taken over
    background: int | None  # the class of what is no object, if there is one
    fit: SegmentationSource
    test: SegmentationSource

    def fingerprint(self) -> str:
        """Return a digest of both parts, the classes and which of them are scored."""
        parts = (self.classes, self.scored, self.fit.fingerprint(), self.test.fingerprint())
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class SceneMasks:
    """Synthetic scenes with their exact masks; class 0 is the background."""

    first: int
    count: int
    size_px: int

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one scene."""
        block, place = divmod(self.first + index, _BLOCK)
        scenes = _draw_block(block, self.size_px)
        return scenes.images[place], scenes.semantic[place]

    def fingerprint(self) -> str:
        """Return what the scenes depend on."""
        return f"scenes {self.first} {self.count} {self.size_px} {SCENES_SEED}"


@dataclass(frozen=True)
class LabelledFolder:
    """Image files and a label PNG for each, whose values are looked up in a table."""

    images: Path
    labels: Path
    names: tuple[tuple[str, str], ...]  # image and label, relative to their folders
    lookup: tuple[int, ...]  # 256 entries: class of each label value, `IGNORED`, or -1
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Read one image and its labels.

        Raises:
            ImageProblem: The image is bad.
            DataError: The labels cannot be read, are not as large as the image, or hold values
                that are no class.
        """
        image_name, label_name = self.names[index]
        image = decode_image(self.images / image_name, limits=_ANY_SHAPE)
        path = self.labels / label_name
        values = _read_label(path)
        if values.shape != image.shape[:2]:
            raise DataError(
                f"open_segmentation: '{path}' must be as large as its image, "
                f"{image.shape[0]} x {image.shape[1]}, got {values.shape[0]} x {values.shape[1]}"
            )
        looked_up = np.array(self.lookup)[values]
        if (looked_up < 0).any():
            wrong = np.unique(values[looked_up < 0])[:5].tolist()
            raise DataError(
                f"open_segmentation: values in '{path}' must be classes or ignored, got {wrong}; "
                f"name them in {CLASS_FILES[0]} under classes or ignore"
            )
        return image, looked_up.astype(np.uint8)

    def fingerprint(self) -> str:
        """Return a digest of names and sizes of all files and of the table."""
        return self.digest


@functools.lru_cache(maxsize=32)
def _draw_block(block: int, size_px: int) -> SceneBatch:
    """Draw scenes that are read one after the other; many at a time are drawn faster."""
    ids = np.arange(block * _BLOCK, (block + 1) * _BLOCK)
    return render_scenes(ids, size_px=size_px, seed=SCENES_SEED)


def open_segmentation(data: str | Path, *, size_px: int = 64) -> SegmentationData:
    """Open images with a class for every pixel.

    Args:
        data: ``"scenes"``, or a folder that holds

            - ``images/<part>/...``: images, any depth, any format that is read elsewhere;
            - ``labels/<part>/...``: for each an 8-bit grey or palette PNG of the same name;
            - ``classes.yaml`` (or ``.json``): a list of class names, the first for value 0; or a
              table with ``classes`` (that list, or names by value) and, as wanted, ``ignore``
              (values that do not count; 255 by default), ``background`` (the class of what is
              no object), ``scored`` (classes of the mean IoU; all but ignored ones by default),
              ``fit`` and ``test`` (the two parts; "train" and "val" by default).
        size_px: Side of the scenes, if it is scenes.

    Raises:
        DataError: Something is missing or wrong; the message says what was expected where.
    """
    if isinstance(data, str) and data == "scenes":
        return SegmentationData(
            name="scenes",
            classes=("background", *CATEGORIES),
            scored=tuple(range(1 + len(CATEGORIES))),
            background=0,
            fit=SceneMasks(0, _FIT_SCENES, size_px),
            test=SceneMasks(_FIT_SCENES, _TEST_SCENES, size_px),
        )
    root = Path(data).expanduser().absolute()
    table = _read_classes(root)
    values, names = _classes(table)
    ignored = _ints(table, "ignore", [IGNORED])
    lookup = [-1] * 256
    for place, value in enumerate(values):
        lookup[value] = place
    for value in ignored:
        lookup[value] = IGNORED
    kept = [place for place, value in enumerate(values) if value not in ignored]
    scored = [_place(name, names) for name in table.get("scored", [names[k] for k in kept])]
    background = table.get("background")
    return SegmentationData(
        name=root.name,
        classes=names,
        scored=tuple(scored),
        background=None if background is None else _place(background, names),
        fit=_open_part(root, str(table.get("fit", "train")), lookup),
        test=_open_part(root, str(table.get("test", "val")), lookup),
    )


def is_segmentation(data: str | Path) -> bool:
    """Tell whether ``data`` is meant for `open_segmentation`: scenes, or a folder with classes."""
    return data == "scenes" or any((Path(data) / name).exists() for name in CLASS_FILES)


def _open_part(root: Path, part: str, lookup: list[int]) -> LabelledFolder:
    images, labels = root / "images" / part, root / "labels" / part
    for folder in (images, labels):
        if not folder.is_dir():
            there = sorted(entry.name for entry in folder.parent.glob("*/"))
            raise DataError(
                f"open_segmentation: '{folder}' must be a folder, got none"
                + (f"; there are {', '.join(there)}: set fit and test" if there else "")
            )
    files, label_files = list_folder(images), list_folder(labels)
    by_stem = {_stem(name): name for name in label_files.all_names()}
    pairs = [(name, by_stem.pop(_stem(name), None)) for name in files.all_names()]
    alone = [image for image, label in pairs if label is None]
    if alone or by_stem:
        what, first = ("image", alone[0]) if alone else ("label", next(iter(by_stem.values())))
        raise DataError(
            f"open_segmentation: every image in '{images}' must have its label in '{labels}', got "
            f"{len(alone)} images without and {len(by_stem)} labels without image, such as the "
            f"{what} {printable(first)!r}"
        )
    names = tuple((os.fsdecode(image), os.fsdecode(label)) for image, label in pairs if label)
    digest = hashlib.sha256(
        repr((files.fingerprint(), label_files.fingerprint(), lookup)).encode()
    ).hexdigest()
    return LabelledFolder(images, labels, names, tuple(lookup), digest)


def _stem(name: bytes) -> bytes:
    return name.rpartition(b".")[0]


def _read_label(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise DataError(
                    f"open_segmentation: '{path}' must be an 8-bit grey or palette PNG whose "
                    f"values are classes, got mode {image.mode}"
                )
            return np.array(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"open_segmentation: '{path}' must be a readable label PNG, got {error}"
        ) from error


def _read_classes(root: Path) -> Mapping[str, Any]:
    found = [root / name for name in CLASS_FILES if (root / name).exists()]
    if len(found) != 1:
        raise DataError(
            f"open_segmentation: '{root}' must hold one of {', '.join(CLASS_FILES)}, "
            f"got {len(found)}"
        )
    try:
        table = yaml.safe_load(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(
            f"open_segmentation: '{found[0]}' must be readable YAML, got {error}"
        ) from error
    table = {"classes": table} if isinstance(table, list) else table
    if not isinstance(table, dict) or not table.get("classes"):
        raise DataError(
            f"open_segmentation: '{found[0]}' must be a list of class names, or a table with "
            f"classes, got {str(table)[:60]!r}"
        )
    unknown = [str(key) for key in table if key not in _KEYS]
    if unknown:
        raise DataError(
            f"open_segmentation: keys of '{found[0]}' must be of {', '.join(_KEYS)}, "
            f"got {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}"
        )
    return table


def _classes(table: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return label value and name of each class."""
    classes = table["classes"]
    pairs = classes.items() if isinstance(classes, dict) else enumerate(classes)
    values, names = zip(*((value, str(name)) for value, name in pairs), strict=True)
    if len(set(names)) < len(names) or not all(_is_value(value) for value in values):
        raise DataError(
            f"open_segmentation: classes must have distinct names and values in [0, 255], "
            f"got {str(classes)[:80]}"
        )
    return values, names


def _ints(table: Mapping[str, Any], key: str, default: list[int]) -> list[int]:
    values: list[int] = table.get(key, default)
    if not isinstance(values, list) or not all(_is_value(value) for value in values):
        raise DataError(
            f"open_segmentation: {key} must be a list of values in [0, 255], got {values!r}"
        )
    return values


def _is_value(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _place(name: object, names: tuple[str, ...]) -> int:
    if str(name) not in names:
        raise DataError(
            f"open_segmentation: scored and background must be names of classes, "
            f"got {name!r}{did_you_mean(str(name), names)}"
        )
    return names.index(str(name))
