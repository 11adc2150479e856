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
from patchwise.data.images import ImageLimits, ImageProblem
from patchwise.data.source import FileSource, ImageSource
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

    @property
    def images(self) -> ImageSource:
        """The images alone."""
        ...

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Return the labels of one image: classes from 0, or `IGNORED`."""
        ...

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one image in RGB and its labels, which are as large."""
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

    @property
    def images(self) -> ImageSource:
        """The scenes alone."""
        return SceneImages(self)

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Return the mask of one scene."""
        return self.read(index)[1]

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one scene."""
        block, place = divmod(self.first + index, _BLOCK)
        scenes = _draw_block(block, self.size_px)
        return scenes.images[place], scenes.semantic[place]

    def fingerprint(self) -> str:
        """Return what the scenes depend on."""
        return f"scenes {self.first} {self.count} {self.size_px} {SCENES_SEED}"


@dataclass(frozen=True)
class SceneImages:
    """Synthetic scenes without their masks."""

    masks: SceneMasks

    name = "scenes"

    def __len__(self) -> int:
        return len(self.masks)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return one scene."""
        return self.masks.read(index)[0]

    def describe(self, index: int) -> str:
        """Return what messages call one scene."""
        return f"scene {self.masks.first + index}"

    def fingerprint(self) -> str:
        """Return a digest of what the scenes depend on."""
        return hashlib.sha256(self.masks.fingerprint().encode()).hexdigest()


@dataclass(frozen=True)
class LabelledFolder:
    """Image files and a label PNG for each, whose values are looked up in a table."""

    images: FileSource
    labels: Path
    names: tuple[str, ...]  # of the labels, relative to their folder, in the order of the images
    lookup: tuple[int, ...]  # 256 entries: class of each label value, `IGNORED`, or -1

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Read one image and its labels.

        Raises:
            ImageProblem: The image is bad.
            DataError: The labels cannot be read, are not as large as the image, or hold values
                that are no class.
        """
        image, label = self.images.read(index), self.label(index)
        if label.shape != image.shape[:2]:
            raise DataError(
                f"open_segmentation: '{self._path(index)}' must be as large as its image, "
                f"{image.shape[0]} x {image.shape[1]}, got {label.shape[0]} x {label.shape[1]}"
            )
        return image, label

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Read the labels of one image; see `read`."""
        path = self._path(index)
        values = _read_label(path)
        looked_up = np.array(self.lookup)[values]
        if (looked_up < 0).any():
            wrong = np.unique(values[looked_up < 0])[:5].tolist()
            raise DataError(
                f"open_segmentation: values in '{path}' must be classes or ignored, got {wrong}; "
                f"name them in {CLASS_FILES[0]} under classes or ignore"
            )
        return looked_up.astype(np.uint8)

    def fingerprint(self) -> str:
        """Return a digest of names and sizes of the images, of the labels' bytes, of the table."""
        meaning = (self.images.fingerprint(), self.names, self.lookup)
        digest = hashlib.sha256(repr(meaning).encode())
        for index in range(len(self)):
            digest.update(hashlib.sha256(self._path(index).read_bytes()).digest())
        return digest.hexdigest()

    def _path(self, index: int) -> Path:
        return self.labels / self.names[index]


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
    source = FileSource(str(images), images, files, _ANY_SHAPE)
    names = tuple(os.fsdecode(label) for _, label in pairs if label)
    return LabelledFolder(source, labels, names, lookup)


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
