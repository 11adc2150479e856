"""Image files and a label PNG for each."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from patchwise.data.class_list import ClassList
from patchwise.data.folder import FileList, list_folder, printable
from patchwise.data.header import read_header
from patchwise.data.images import ImageLimits, ImageProblem
from patchwise.data.source import FileSource
from patchwise.errors import DataError

_ANY_SHAPE = ImageLimits(min_side_px=1, max_aspect=1e9)


@dataclass(frozen=True)
class LabelledFolder:
    """Image files and a label PNG for each, whose values are looked up in a table."""

    images: FileSource
    labels: Path
    names: tuple[str, ...]  # of the labels, relative to their folder, in the order of the images
    lookup: tuple[int, ...]  # 256 entries: class of each label value, `IGNORED`, or -1
    rule: str  # for messages: what values there may be, or how to name others

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
            turned = ", turned by its EXIF orientation" if self.images.header(index).turned else ""
            raise DataError(
                f"open_segmentation: '{self._path(index)}' must be as large as its image, "
                f"{image.shape[0]} x {image.shape[1]}{turned}, "
                f"got {label.shape[0]} x {label.shape[1]}"
                + ("; labels go with what a viewer shows" if turned else "")
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
                f"{self.rule}"
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


@dataclass(frozen=True)
class Parts:
    """A data set: its name, its classes, and the two parts to learn from and to score."""

    name: str
    classes: ClassList
    fit: LabelledFolder
    test: LabelledFolder


def open_matched(
    images: Path, labels: Path, classes: ClassList, *, endings: tuple[str, str] | None = None
) -> LabelledFolder:
    """Open all images below a folder, each with the label of its name below another.

    Args:
        images: Folder of images, at any depth.
        labels: Folder of labels, in the same folders.
        classes: What their values stand for.
        endings: What follows the common part in the names of images, and of labels; labels that
            end otherwise do not count. None: their suffixes, and every label must be a PNG.

    Raises:
        DataError: A folder is missing, an image has no label, or a label no image.
    """
    files, names = _list(images), _list(labels).all_names()
    image_ending, ending = (text.encode() for text in endings or ("", ""))
    odd = [name for name in names if not name.lower().endswith(b".png")]
    if endings is not None:
        names, odd = [name for name in names if name.endswith(ending)], []
    by_key = {_key(name, ending): name for name in names}
    if odd or len(by_key) < len(names):
        raise DataError(
            f"open_segmentation: labels in '{labels}' must be one PNG for each image, got "
            f"{len(names)} files for {len(by_key)} names"
            + (f", {printable(odd[0])!r} among them" if odd else "")
        )
    pairs = [(name, by_key.pop(_key(name, image_ending), None)) for name in files.all_names()]
    alone = [image for image, label in pairs if label is None]
    if alone or by_key:
        what, first = ("image", alone[0]) if alone else ("label", next(iter(by_key.values())))
        raise DataError(
            f"open_segmentation: every image in '{images}' must have its label in '{labels}', got "
            f"{len(alone)} images without and {len(by_key)} labels without image, such as the "
            f"{what} {printable(first)!r}"
        )
    source = FileSource(str(images), images, files, _ANY_SHAPE)
    return _labelled(source, labels, (label for _, label in pairs if label), classes)


def open_listed(images: Path, labels: Path, listed: Path, classes: ClassList) -> LabelledFolder:
    """Open the images that a file names, ``NAME.jpg`` and ``NAME.png`` in two folders.

    Raises:
        DataError: The list cannot be used, or files that it names are missing.
    """
    names = read_names(listed)
    image_files = _choose(images, [name + b".jpg" for name in names], listed)
    label_files = _choose(labels, [name + b".png" for name in names], listed)
    source = FileSource(str(images), images, image_files, _ANY_SHAPE)
    return _labelled(source, labels, label_files.all_names(), classes)


def read_names(listed: Path) -> list[bytes]:
    """Read a list of images: a name a line, or the paths of image and label, as some lists have.

    Raises:
        DataError: It is missing or empty, a line is neither, or a name occurs twice.
    """
    try:
        lines = listed.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(
            f"open_segmentation: '{listed}' must be a list of images, one a line, "
            f"got {error.strerror}"
        ) from error
    names: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        files = [path.rpartition(b"/")[2] for path in line.split()]
        stems = {file.removesuffix(b".jpg").removesuffix(b".png") for file in files}
        if len(stems) > 1:
            raise DataError(
                f"open_segmentation: a line of '{listed}' must name one image, "
                f"got {printable(line.strip())!r} in line {number}"
            )
        names += stems
    twice = len(names) - len(set(names))
    if twice or not names:
        raise DataError(
            f"open_segmentation: '{listed}' must name at least one image and each once, "
            f"got {len(names)} names, {twice} of them again"
        )
    return names


def _choose(folder: Path, names: list[bytes], listed: Path) -> FileList:
    files = _list(folder)
    sizes = dict(zip(files.all_names(), files.sizes.tolist(), strict=True))
    missing = [name for name in names if name not in sizes]
    if missing:
        raise DataError(
            f"open_segmentation: '{folder}' must hold the {len(names)} files named in '{listed}', "
            f"got all but {len(missing)}, such as {printable(missing[0])!r}"
        )
    return FileList.of((name, sizes[name]) for name in names)


def _list(folder: Path) -> FileList:
    if not folder.is_dir():
        there = sorted(entry.name for entry in folder.parent.glob("*/"))
        raise DataError(
            f"open_segmentation: '{folder}' must be a folder, got none"
            + (f"; there are {', '.join(there[:6])}" if there else "")
        )
    return list_folder(folder)


def _labelled(
    images: FileSource, labels: Path, names: Iterable[bytes], classes: ClassList
) -> LabelledFolder:
    decoded = tuple(os.fsdecode(name) for name in names)
    return LabelledFolder(images, labels, decoded, classes.lookup, classes.rule)


def _key(name: bytes, ending: bytes) -> bytes:
    return name.removesuffix(ending) if ending else name.rpartition(b".")[0]


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
