"""Where images come from: a folder, a list of files, a tar archive, or nowhere at all."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

from patchwise.data.folder import FileList, list_folder, printable
from patchwise.data.header import ImageHeader, read_header
from patchwise.data.images import SUFFIXES, ImageLimits, decode_image
from patchwise.data.synthetic import Scenes
from patchwise.data.tar import open_tar
from patchwise.errors import DataError, RangeError

_DEFAULT_SCENES = 10_000
_PACKED = (".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".zip", ".7z", ".rar")


@runtime_checkable
class ImageSource(Protocol):
    """Images that can be read by number, in an order that never changes."""

    @property
    def name(self) -> str:
        """What messages and logs call it."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return one image in RGB; raise `ImageProblem` if it is bad."""
        ...

    def describe(self, index: int) -> str:
        """Return what messages call one image."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of the list of images, the same on every machine."""
        ...


@runtime_checkable
class StoredSource(ImageSource, Protocol):
    """Images in files, which have headers."""

    def header(self, index: int) -> ImageHeader:
        """Return what the header of one file says; raise `ImageProblem` if it is damaged."""
        ...


@runtime_checkable
class LabelledSource(ImageSource, Protocol):
    """Images of which each has one class."""

    @property
    def labels(self) -> Int64[np.ndarray, " N"]:
        """The index into ``classes`` of each image."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Image files, by their paths relative to one folder."""

    name: str
    root: Path
    files: FileList
    limits: ImageLimits

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        """Return the path of one image."""
        return self.root / os.fsdecode(self.files.name(index))

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Decode one image; see `decode_image`."""
        return decode_image(self.path(index), name=self.describe(index), limits=self.limits)

    def header(self, index: int) -> ImageHeader:
        """Read what the header of one file says."""
        return read_header(self.path(index), name=self.describe(index))

    def describe(self, index: int) -> str:
        """Return the path of one image, printable."""
        return printable(os.fsencode(self.path(index)))

    def fingerprint(self) -> str:
        """Return a digest of paths and sizes; see `FileList.fingerprint`."""
        return self.files.fingerprint()


@dataclass(frozen=True)
class LabelledFiles(FileSource):
    """Image files with the class of each."""

    labels: Int64[np.ndarray, " N"]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LabelledArrays:
    """Images in memory with the class of each."""

    name: str
    images: UInt8[np.ndarray, "N H W 3"]
    labels: Int64[np.ndarray, " N"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return a copy of one image."""
        if not 0 <= index < len(self):
            raise RangeError(f"LabelledArrays: index must lie in [0, {len(self)}), got {index}")
        return np.array(self.images[index])

    def describe(self, index: int) -> str:
        """Return the name of the set with the number of the image."""
        return f"{self.name}, image {index}"

    def fingerprint(self) -> str:
        """Return a digest of all pixels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


def open_source(data: str | Path, *, limits: ImageLimits | None = None) -> ImageSource:
    """Open images by what names them.

    Args:
        data: A folder, searched at any depth; a ``.txt`` file with one path a line, relative to
            the folder of that file (blank lines and lines that begin with # do not count); a
            ``.tar`` archive; or, as a string, ``scenes`` or ``scenes:COUNT`` for synthetic scenes
            (a folder of that name is ``./scenes``).
        limits: Sizes of images that are refused; None for the default ones.

    Raises:
        DataError: There is nothing of that name, or no image in it.
    """
    if isinstance(data, str) and (data == "scenes" or data.startswith("scenes:")):
        return _open_scenes(data)
    path, limits = Path(data).expanduser(), limits or ImageLimits()
    if path.is_dir():
        return FileSource(str(path), path.absolute(), list_folder(path), limits)
    if not path.exists():
        raise DataError(
            f"open_source: data must be a folder, a .txt list, a .tar archive, 'scenes' or "
            f"'scenes:COUNT', got {str(data)!r}, which does not exist"
        )
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return FileSource(str(path), path.parent.absolute(), _read_list(path), limits)
    if suffix == ".tar":
        return open_tar(path.absolute(), limits=limits)
    advice = "give the folder that holds the images"
    if suffix in _PACKED:
        advice = "unpack it, or pack the images into a plain .tar: images hardly get smaller"
    raise DataError(
        f"open_source: data must be a folder, a .txt list or a .tar archive, "
        f"got the file {str(data)!r}; {advice}"
    )


def open_labelled(data: str | Path, *, limits: ImageLimits | None = None) -> LabelledFiles:
    """Open ``data/<class>/...`` with the name of the first folder as the class of each image.

    Raises:
        DataError: ``data`` is not such a folder, or has fewer than two classes.
    """
    path = Path(data).expanduser()
    if not path.is_dir():
        raise DataError(
            f"open_labelled: data must be a folder with one folder for each class, "
            f"got {str(data)!r}, which is {'a file' if path.exists() else 'not there'}"
        )
    files = list_folder(path)
    folders = [name.partition(b"/")[::2] for name in files.all_names()]
    loose = [first for first, rest in folders if not rest]
    if loose:
        raise DataError(
            f"open_labelled: every image must lie in the folder of its class, "
            f"got {len(loose)} directly in {str(path)!r}, such as {printable(loose[0])!r}"
        )
    classes = sorted({first for first, _ in folders})
    if len(classes) < 2:
        raise DataError(
            f"open_labelled: {str(path)!r} must hold at least two folders with images, one for "
            f"each class, got only {printable(classes[0])!r}"
        )
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[first] for first, _ in folders], np.int64)
    names = tuple(printable(name) for name in classes)
    return LabelledFiles(str(path), path.absolute(), files, limits or ImageLimits(), labels, names)


def _open_scenes(data: str) -> ImageSource:
    count = data.partition(":")[2]
    if data == "scenes":
        return Scenes(_DEFAULT_SCENES)
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise DataError(
            f"open_source: data must be 'scenes:COUNT' with a whole number above 0, got {data!r}"
        )
    return Scenes(int(count))


def _read_list(path: Path) -> FileList:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"open_source: {str(path)!r} must be a readable file, got {error.strerror}"
        ) from error
    files = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        line = raw.rstrip(b"\r")
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        size = _size_of_file(os.path.join(os.fsencode(path.parent), line))
        if size is None:
            raise DataError(
                f"open_source: every path in {str(path)!r} must be that of a file, "
                f"got {printable(line)!r} in line {number}; paths are relative to the list"
            )
        files.append((line, size))
    if not files:
        raise DataError(
            f"open_source: {str(path)!r} must name at least one image ({' '.join(SUFFIXES)}), "
            f"got only blank lines and comments"
        )
    return FileList.of(files)


def _size_of_file(path: bytes) -> int | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
