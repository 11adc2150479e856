"""Images whose every pixel has a class: images, a label PNG for each, and a list of classes."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from patchwise.data.class_list import CLASS_FILES, read_class_list
from patchwise.data.folder import list_folder, printable
from patchwise.data.header import read_header
from patchwise.data.images import ImageLimits, ImageProblem, decode_image
from patchwise.data.synthetic import CATEGORIES, SceneBatch, render_scenes
from patchwise.errors import DataError

SCENES_SEED = 2**20  # no training uses it: these scenes are always held out
_FIT_SCENES, _TEST_SCENES = 400, 200
_BLOCK = 32
_ANY_SHAPE = ImageLimits(min_side_px=1, max_aspect=1e9)


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
        meaning = (self.classes, self.scored, self.background)
        parts = (*meaning, self.fit.fingerprint(), self.test.fingerprint())
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
    images_digest: str

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
        """Return a digest of names and sizes of the images, of the labels' bytes, of the table."""
        digest = hashlib.sha256(repr((self.images_digest, self.names, self.lookup)).encode())
        for _, label in self.names:
            digest.update(hashlib.sha256((self.labels / label).read_bytes()).digest())
        return digest.hexdigest()


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
    classes = read_class_list(root)
    return SegmentationData(
        name=root.name,
        classes=classes.names,
        scored=classes.scored,
        background=classes.background,
        fit=_open_part(root, classes.fit, classes.lookup),
        test=_open_part(root, classes.test, classes.lookup),
    )


def is_segmentation(data: str | Path) -> bool:
    """Tell whether ``data`` is meant for `open_segmentation`: scenes, or a folder of its layout."""
    if data == "scenes":
        return True
    root = Path(data).expanduser()
    has_parts = (root / "images").is_dir() and (root / "labels").is_dir()
    return has_parts or any((root / name).exists() for name in CLASS_FILES)


def _open_part(root: Path, part: str, lookup: tuple[int, ...]) -> LabelledFolder:
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
    odd = [name for name in label_files.all_names() if not name.lower().endswith(b".png")]
    if odd or len(by_stem) < len(label_files):
        raise DataError(
            f"open_segmentation: labels in '{labels}' must be one PNG for each image, got "
            f"{len(label_files)} files for {len(by_stem)} names"
            + (f", {printable(odd[0])!r} among them" if odd else "")
        )
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
    return LabelledFolder(images, labels, names, lookup, files.fingerprint())


def _stem(name: bytes) -> bytes:
    return name.rpartition(b".")[0]


def _read_label(path: Path) -> NDArray[np.uint8]:
    try:
        header = read_header(path)
        indexed = header.channels == "palette" or (header.channels, header.bits) == ("grey", 8)
        if header.file_format != "PNG" or not indexed:
            raise DataError(
                f"open_segmentation: '{path}' must be an 8-bit grey or palette PNG whose values "
                f"are classes, got {header.bits}-bit {header.channels} {header.file_format}"
            )
        with Image.open(path) as image:
            return np.array(image)
    except (ImageProblem, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"open_segmentation: '{path}' must be a readable label PNG, got {error}"
        ) from error
