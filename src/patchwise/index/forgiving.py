"""A source whose bad images are noted instead of being errors, up to a number."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydantic import TypeAdapter, ValidationError

from patchwise.data.bad_images import BadImage, BadImages
from patchwise.data.images import ImageProblem
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from patchwise.files import write_text

_BLANK_PX, _GREY = 64, 128


@dataclass(frozen=True)
class Forgiving:
    """Images of a source, grey ones in place of bad ones.

    What is bad is noted in a folder, a file for each image: so it is known to all processes that
    read images, and still is when an interrupted work goes on. Once more images are bad than
    ``tolerated``, a bad image is an error again.
    """

    source: ImageSource
    folder: Path
    tolerated: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return one image; a grey one if it is bad."""
        try:
            return self.source.read(index)
        except ImageProblem as problem:
            bad = BadImage(index, self.describe(index), problem.reason, str(problem))
            text = json.dumps(dataclasses.asdict(bad)) + "\n"
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / f"{index}.json", text)
            if len(list(self.folder.glob("[0-9]*.json"))) > self.tolerated:
                raise
            return np.full((_BLANK_PX, _BLANK_PX, 3), _GREY, np.uint8)

    def describe(self, index: int) -> str:
        """Return what messages call one image."""
        return self.source.describe(index)

    def fingerprint(self) -> str:
        """Return the digest of the source."""
        return self.source.fingerprint()

    def bad_images(self) -> tuple[BadImage, ...]:
        """Return the bad images that were met so far, in order.

        Raises:
            DataError: There are more than ``tolerated``, or a note is damaged.
        """
        found = []
        for file in self.folder.glob("[0-9]*.json"):
            try:
                found.append(TypeAdapter(BadImage).validate_json(file.read_bytes()))
            except (OSError, ValidationError) as error:
                raise DataError(
                    f"neighbours: '{file}' must be the note of a bad image, got {error}; delete "
                    f"the folder it is in"
                ) from error
        found.sort(key=lambda bad: bad.index)
        self.check(found)
        return tuple(found)

    def check(self, bad: Iterable[BadImage]) -> None:
        """Raise `DataError`, which names them, if more images are bad than are tolerated."""
        BadImages(self.name, tolerated=self.tolerated).add(bad)
