"""Images of which each has one class, in two parts or in one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from patchwise.data.source import LabelledFiles, open_labelled
from patchwise.errors import DataError

_FIT, _TEST = "train", ("val", "test")


@dataclass(frozen=True)
class LabelledData:
    """Labelled images to learn from and to be scored on."""

    name: str
    fit: LabelledFiles
    test: LabelledFiles | None  # None: every image is scored by all others
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
    """Open ``data/train/<class>/...`` and ``data/val/<class>/...``, or ``data/<class>/...``.

    In the second form there is only one part.

    Raises:
        DataError: It is neither, or the parts have different classes.
    """
    root = Path(data).expanduser()
    folders = {entry.name for entry in root.glob("*/")}
    test_folders = [name for name in _TEST if name in folders]
    if _FIT not in folders or len(test_folders) != 1 or len(folders) > 2:
        source = open_labelled(root)
        return LabelledData(root.name, source, None, source.labels)
    fit, test = open_labelled(root / _FIT), open_labelled(root / test_folders[0])
    number = {name: index for index, name in enumerate(fit.classes)}
    unknown = [name for name in test.classes if name not in number]
    if unknown:
        raise DataError(
            f"open_labelled_data: classes of '{root / test_folders[0]}' must be among those of "
            f"'{root / _FIT}', got {len(unknown)} others such as {unknown[0]!r}"
        )
    of_fit = np.array([number[name] for name in test.classes], np.int64)
    return LabelledData(root.name, fit, test, of_fit[test.labels])
