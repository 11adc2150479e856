"""Images of which each has one class, in two parts or in one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from patchwise.data.source import LabelledFiles, open_labelled
from patchwise.errors import DataError

_FIT = "train"


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
    """Open ``data/train/<class>/...`` with ``data/val/<class>/...``, or ``data/<class>/...``.

    The second part may be called ``val``, ``valid``, ``validation`` or ``test``; in the other form
    there is only one part.

    Raises:
        DataError: It is neither, or the parts have different classes.
    """
    root = Path(data).expanduser().absolute()
    folders = {entry.name for entry in root.glob("[!.]*/") if any(entry.iterdir())}
    parts = {name for name in folders if all(entry.is_dir() for entry in (root / name).iterdir())}
    test_folders = sorted(parts & {"val", "test", "valid", "validation"})
    if _FIT not in parts or not test_folders:
        source = open_labelled(root)
        return LabelledData(root.name, source, None, source.labels)
    if len(folders) > 2:
        raise DataError(
            f"open_labelled_data: '{root}' must hold '{_FIT}' and one other part, or one folder "
            f"for each class, got {', '.join(sorted(folders))}; give a folder with two parts alone"
        )
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
