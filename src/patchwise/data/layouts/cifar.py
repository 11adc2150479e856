"""CIFAR-10 and CIFAR-100, in the version for Python and in the binary one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchwise.data.plain_pickle import read_plain_pickle
from patchwise.data.source import LabelledArrays
from patchwise.errors import DataError

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_Rows = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class _Version:
    """The files of one data set, without the ending of the binary ones."""

    name: str
    fit: tuple[str, ...]
    test: str
    meta: str  # pickle with the names of the classes
    names: str  # text file with them, in the binary version
    labels: bytes  # key of the labels in pickles; of their names with the next ending
    label_names: bytes
    label_bytes: int  # before the pixels of an image; the last is the label
    classes: int


_CIFAR10 = _Version(
    name="CIFAR-10",
    fit=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    names="batches.meta.txt",
    labels=b"labels",
    label_names=b"label_names",
    label_bytes=1,
    classes=10,
)
_CIFAR100 = _Version(
    name="CIFAR-100",
    fit=("train",),
    test="test",
    meta="meta",
    names="fine_label_names.txt",
    labels=b"fine_labels",
    label_names=b"fine_label_names",
    label_bytes=2,
    classes=100,
)


def open_cifar10(root: Path) -> tuple[LabelledArrays, LabelledArrays]:
    """Open the 50,000 images to learn from and the 10,000 to be scored, in ten classes.

    They are ``data_batch_1`` to ``_5``, ``test_batch`` and ``batches.meta``, or the same with
    ``.bin`` and ``batches.meta.txt``; both give the same images in the same order. They are kept in
    memory, which takes 184 MB.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".

    Raises:
        DataError: A file is missing or wrong.
    """
    return _open(root, _CIFAR10)


def open_cifar100(root: Path) -> tuple[LabelledArrays, LabelledArrays]:
    """Open CIFAR-100 with its 100 fine classes: see `open_cifar10`.

    The files are ``train``, ``test`` and ``meta``, or ``train.bin``, ``test.bin`` and
    ``fine_label_names.txt``.
    """
    return _open(root, _CIFAR100)


def _open(root: Path, version: _Version) -> tuple[LabelledArrays, LabelledArrays]:
    binary = (root / f"{version.test}.bin").exists()
    ending = ".bin" if binary else ""
    wanted = [f"{name}{ending}" for name in (*version.fit, version.test)]
    wanted.append(version.names if binary else version.meta)
    missing = [name for name in wanted if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"open_labelled_data: '{root}' must hold {', '.join(wanted)} to be {version.name}, "
            f"got all but {', '.join(missing)}"
        )
    classes = _class_names(root, version, binary)

    def read(*names: str) -> LabelledArrays:
        paths = [root / f"{name}{ending}" for name in names]
        rows = [_binary(p, version) if binary else _pickled(p, version) for p in paths]
        pixels, labels = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        images = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        return LabelledArrays(version.name, np.ascontiguousarray(images), labels, classes)

    return read(*version.fit), read(version.test)


def _class_names(root: Path, version: _Version, binary: bool) -> tuple[str, ...]:
    path = root / (version.names if binary else version.meta)
    if binary:
        names = path.read_text(encoding="utf-8", errors="replace").split()
    else:
        meta = read_plain_pickle(path, caller="open_labelled_data")
        held = meta.get(version.label_names) if isinstance(meta, dict) else None
        names = [_text(name) for name in held] if isinstance(held, list) else []
    if len(names) != version.classes or len(set(names)) < len(names):
        raise DataError(
            f"open_labelled_data: '{path}' must name the {version.classes} classes of "
            f"{version.name}, got {len(names)} names"
        )
    return tuple(names)


def _binary(path: Path, version: _Version) -> _Rows:
    values = np.fromfile(path, np.uint8)
    width = version.label_bytes + _PIXELS
    if not len(values) or len(values) % width:
        raise DataError(
            f"open_labelled_data: '{path}' must have {width} bytes for each image, "
            f"got {len(values)} bytes; download it again"
        )
    rows = values.reshape(-1, width)
    labels = rows[:, version.label_bytes - 1].astype(np.int64)
    return _checked(path, version, rows[:, version.label_bytes :], labels)


def _pickled(path: Path, version: _Version) -> _Rows:
    batch = read_plain_pickle(path, caller="open_labelled_data")
    held: dict[Any, Any] = batch if isinstance(batch, dict) else {}
    pixels, labels = held.get(b"data"), held.get(version.labels)
    if not (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.shape[1:] == (_PIXELS,)
        and isinstance(labels, list)
        and all(type(label) is int for label in labels)
        and len(labels) == len(pixels) > 0
    ):
        raise DataError(
            f"open_labelled_data: '{path}' must hold data, rows of {_PIXELS} bytes, and "
            f"{version.labels.decode()}, a number for each, "
            f"got {', '.join(sorted(map(_text, held))[:5]) or type(batch).__name__}"
        )
    return _checked(path, version, pixels, np.array(labels, np.int64))


def _checked(
    path: Path, version: _Version, pixels: NDArray[np.uint8], labels: NDArray[np.int64]
) -> _Rows:
    wrong = labels[(labels < 0) | (labels >= version.classes)]
    if len(wrong):
        raise DataError(
            f"open_labelled_data: labels in '{path}' must lie in [0, {version.classes}), "
            f"got {wrong[0]}"
        )
    return pixels, labels


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
