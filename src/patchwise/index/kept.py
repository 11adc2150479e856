"""Neighbours in one file, which says what they were found by and is read only if that agrees."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float32
from pydantic import TypeAdapter, ValidationError

from patchwise.data.bad_images import BadImage
from patchwise.data.reader import NearestIds
from patchwise.files import write_bytes

_ENTRY = "patchwise.neighbours"


@dataclass(frozen=True)
class Neighbours:
    """The images nearest to each image of a source, the nearest first.

    Letters: N images, k neighbours of each.

    Attributes:
        ids: No image is among its own, and no bad one among any. A bad image, which training
            replaces by the next good one, has the neighbours of that.
        cosines: Of the two images' features; NaN for a bad image.
        bad: The images that could not be read.
        lacking: Images with fewer than k others that are no near-duplicates: near-duplicates stand
            at the end of their rows.
        recall: Share of the true neighbours that were found, of a sample; None: all were.
    """

    ids: NearestIds
    cosines: Float32[np.ndarray, "N k"]
    bad: tuple[BadImage, ...] = ()
    lacking: int = 0
    recall: float | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Header:
    """What the file says besides its arrays."""

    found_by: str
    sha256: str  # of the arrays' bytes
    bad: tuple[BadImage, ...]
    lacking: int
    recall: float | None


def write_neighbours(found: Neighbours, path: Path, *, found_by: str) -> None:
    """Write neighbours atomically; ``found_by``: all that they depend on."""
    arrays = {"ids": found.ids, "cosines": found.cosines}
    header = _Header(found_by, _digest(arrays), found.bad, found.lacking, found.recall)
    metadata = {_ENTRY: json.dumps(dataclasses.asdict(header))}
    write_bytes(path, safetensors.numpy.save(arrays, metadata=metadata))


def read_neighbours(path: Path, *, found_by: str) -> Neighbours:
    """Return the neighbours of a file.

    Raises:
        ValueError: The file is damaged, or its neighbours were found by something else.
        OSError: It cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = TypeAdapter(_Header).validate_json((file.metadata() or {}).get(_ENTRY, ""))
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in ("ids", "cosines")}
    except (safetensors.SafetensorError, ValidationError) as error:
        raise ValueError(f"it is damaged: {error}") from error
    if header.found_by != found_by:
        raise ValueError("its neighbours were found by something else")
    if _digest(arrays) != header.sha256:
        raise ValueError("it is damaged: its numbers are not those that were written")
    return Neighbours(arrays["ids"], arrays["cosines"], header.bad, header.lacking, header.recall)


def _digest(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
