"""Images of which each has one class, in two parts or in one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from patchwise.data.layouts.cifar import open_cifar10, open_cifar100
from patchwise.data.layouts.place import find_layout
from patchwise.data.source import LabelledSource, open_labelled
from patchwise.errors import DataError

_FIT = "train"
_TEST = {"val", "test", "valid", "validation"}


@dataclass(frozen=True)
class LabelledData:
    """Labelled images to learn from and to be scored on."""

    name: str
    fit: LabelledSource
    test: LabelledSource | None  # None: every image is scored by all others
    test_labels: Int64[np.ndarray, " N"]  # as indices into the classes of ``fit``

    def fingerprint(self) -> str:
        """Return a digest of files and classes of both parts."""
        parts = [
            (part.classes, part.labels.tobytes(), part.fingerprint())
            for part in (self.fit, self.test)
            if part is not None
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def open_labelled_data(data: str | Path) -> LabelledData:
    """Open images with a class for each.

    Args:
        data: ``FOLDER/train/<class>/...`` with ``FOLDER/val/<class>/...`` (or ``valid``,
            ``validation``, ``test``), as ImageNet is usually laid out; or ``FOLDER/<class>/...``,
            which is one part; or the folder of CIFAR-10 or CIFAR-100 as it is unpacked (see
            docs/data.md). Which one it is, the folder tells; ``NAME:FOLDER`` insists on a layout:
            ``classes``, ``cifar10`` or ``cifar100``.

    Raises:
        ChoiceError: There is no layout of the name before the colon.
        DataError: It is none of these, a file is missing or wrong, or the parts have different
            classes.
    """
    layout, root = find_layout("open_labelled_data", data, "labelled")
    if layout == "cifar10":
        return _with_test("CIFAR-10", *open_cifar10(root))
    if layout == "cifar100":
        return _with_test("CIFAR-100", *open_cifar100(root))
    return _open_folders(root)


def _open_folders(root: Path) -> LabelledData:
    folders = {entry.name for entry in root.glob("[!.]*/") if any(entry.iterdir())}
    parts = {name for name in folders if all(entry.is_dir() for entry in (root / name).iterdir())}
    loose = sorted((folders - parts) & _TEST)
    if _FIT in parts and loose:
        raise DataError(
            f"open_labelled_data: images in '{root / loose[0]}' must lie in the folder of their "
            f"class, as those in '{root / _FIT}' do, got files directly in it; sort them into "
            f"such folders, for ImageNet by the validation labels of its development kit"
        )
    test_folders = sorted(parts & _TEST)
    if _FIT not in parts or not test_folders:
        source = open_labelled(root)
        return LabelledData(root.name, source, None, source.labels)
    if len(folders) > 2:
        raise DataError(
            f"open_labelled_data: '{root}' must hold '{_FIT}' and one other part, or one folder "
            f"for each class, got {', '.join(sorted(folders))}; give a folder with two parts alone"
        )
    return _with_test(root.name, open_labelled(root / _FIT), open_labelled(root / test_folders[0]))


def _with_test(name: str, fit: LabelledSource, test: LabelledSource) -> LabelledData:
    number = {name: index for index, name in enumerate(fit.classes)}
    unknown = [name for name in test.classes if name not in number]
    if unknown:
        raise DataError(
            f"open_labelled_data: classes of '{test.name}' must be among those of '{fit.name}', "
            f"got {len(unknown)} others such as {unknown[0]!r}"
        )
    of_fit = np.array([number[name] for name in test.classes], np.int64)
    return LabelledData(name, fit, test, of_fit[test.labels])
