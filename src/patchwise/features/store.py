"""Features on the disk: half precision, memory-mapped, in parts that are there whole or not at all.

store.json               what the features are: `StoreFile`
parts/00012.cls.npy      CLS features of the images of part 12 [n, D], float16
parts/00012.patches.npy  patch features of these images, one after the other [sum of N, D]
parts/00012.names.json   what these images are called
parts/00012.grids.npy    rows and columns of patches of each image [n, 2]; written last
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16, Int32, Integer
from numpy.typing import DTypeLike, NDArray
from pydantic import TypeAdapter, ValidationError

from patchwise.errors import DataError, RangeError
from patchwise.features.content import Content
from patchwise.files import write_text

FORMAT = 1
INDEX = "store.json"
PARTS = "parts"


@dataclass(frozen=True)
class StoreFile:
    """What `INDEX` holds."""

    format: int
    content: Content
    part_images: int  # in every part but the last, which has the rest
    dtype: str = "float16"


class StoredImage(NamedTuple):
    """The features of one image."""

    cls: Float16[np.ndarray, " D"]
    patches: Float16[np.ndarray, "h w D"] | None  # None: the store has none
    name: str


@dataclass(frozen=True)
class Part:
    """The features of some consecutive images, memory-mapped."""

    first: int  # image
    cls: Float16[np.ndarray, "n D"]
    patches: Float16[np.ndarray, "M D"] | None  # of all images; None: the store has none
    grids: Int32[np.ndarray, "n 2"]
    names_file: Path

    def __len__(self) -> int:
        return len(self.cls)

    @functools.cached_property
    def names(self) -> list[str]:
        """What the images are called: their paths, for files."""
        names = json.loads(self.names_file.read_text(encoding="utf-8"))
        return [str(name) for name in names]

    @functools.cached_property
    def starts(self) -> Integer[np.ndarray, " starts"]:
        """Where the patches of each image begin, and after them, where they end."""
        return np.concatenate([[0], self.grids.astype(np.int64).prod(axis=1).cumsum()])

    def image(self, row: int) -> StoredImage:
        """Return the features of one image, memory-mapped as well."""
        patches = self.patches
        if patches is not None:
            start, end = self.starts[row : row + 2]
            patches = patches[start:end].reshape(*self.grids[row], -1)
        return StoredImage(self.cls[row], patches, self.names[row])


@dataclass(frozen=True)
class FeatureStore:
    """The features of all images of a source; see `open_store`."""

    path: Path
    content: Content
    part_images: int
    _opened: dict[int, Part] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return self.content.data.count

    @property
    def dim(self) -> int:
        """Channels of the features, D."""
        return self.content.dim

    @property
    def has_patches(self) -> bool:
        """Whether there are patch features besides CLS."""
        return self.content.patches

    @property
    def part_count(self) -> int:
        """How many parts there are once the store is complete."""
        return -(-len(self) // self.part_images)

    @property
    def complete(self) -> bool:
        """Whether all parts are there."""
        return len(self.parts_there()) == self.part_count

    def parts_there(self) -> list[int]:
        """Return the numbers of the parts that are there."""
        return sorted(
            int(file.name.partition(".")[0])
            for file in self.file_of(0, "").parent.glob("*.grids.npy")
        )

    def has_part(self, number: int) -> bool:
        """Tell whether a part is there."""
        return self.file_of(number, "grids.npy").exists()

    def file_of(self, number: int, what: str) -> Path:
        """Return where one array of a part is, or would be."""
        return self.path / PARTS / f"{number:05}.{what}"

    def images_of(self, number: int) -> range:
        """Return the images of a part."""
        first = number * self.part_images
        return range(first, min(first + self.part_images, len(self)))

    def part(self, number: int) -> Part:
        """Return a part, memory-mapped.

        Raises:
            DataError: It is not there, or damaged.
        """
        if number not in self._opened:
            self._opened[number] = self._open_part(number)
        return self._opened[number]

    def parts(self) -> Iterator[Part]:
        """Yield all parts in order."""
        return (self.part(number) for number in range(self.part_count))

    def image(self, index: int) -> StoredImage:
        """Return the features of one image."""
        if not 0 <= index < len(self):
            raise RangeError(f"FeatureStore: index must lie in [0, {len(self)}), got {index}")
        number, row = divmod(index, self.part_images)
        return self.part(number).image(row)

    @property
    def cls(self) -> "StoredRows":
        """The CLS features of all images [N, D]: read where they are asked for."""
        return StoredRows(self)

    def _open_part(self, number: int) -> Part:
        def load(what: str) -> NDArray[np.generic]:
            array: NDArray[np.generic] = np.load(
                self.file_of(number, what), mmap_mode="r", allow_pickle=False
            )
            return array

        images = self.images_of(number)
        names = self.file_of(number, "names.json")
        try:
            grids = np.array(load("grids.npy"))
            patches = load("patches.npy") if self.has_patches else None
            part = Part(images.start, load("cls.npy"), patches, grids, names)
            _check_part(part, len(images), self.dim)
        except (OSError, ValueError) as error:
            raise DataError(
                f"open_store: part {number} of '{self.path}' must be there and whole, got {error}; "
                f"delete its files and embed again: the others are kept"
            ) from error
        return part


class StoredRows:
    """An array of one row an image, over all parts; an index or a slice of it is an array."""

    dtype = np.dtype(np.float16)

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self.shape = (len(store), store.dim)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(
        self, key: int | slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool]
    ) -> Float16[np.ndarray, "*rows"]:
        rows = np.arange(len(self))[key]
        numbers, places = np.divmod(rows.reshape(-1), self._store.part_images)
        found = np.empty((len(numbers), self.shape[1]), self.dtype)
        order = numbers.argsort(kind="stable")
        for of_part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(of_part):
                part = self._store.part(int(numbers[of_part[0]]))
                found[of_part] = part.cls[places[of_part]]
        return found.reshape(*rows.shape, self.shape[1])

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.generic]:
        return np.asarray(self[:], dtype=dtype)


def open_store(path: str | Path) -> FeatureStore:
    """Open the features in a folder that `patchwise embed` wrote.

    Parts are opened when they are asked for: a store may still be growing.

    Raises:
        DataError: There is no store, or it is damaged.
    """
    folder = Path(path).expanduser()
    index = folder / INDEX
    try:
        values = json.loads(index.read_text(encoding="utf-8"))
        known = values.get("format") if isinstance(values, dict) else None
        if known != FORMAT:
            raise DataError(
                f"open_store: format of '{folder}' must be {FORMAT}, got {known}; "
                f"another version of patchwise wrote it"
            )
        read = TypeAdapter(StoreFile).validate_python(values)
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            f"open_store: '{folder}' must be a folder with a whole {INDEX}, got {error}"
        ) from error
    return FeatureStore(folder, read.content, read.part_images)


def write_index(path: Path, content: Content, part_images: int) -> None:
    """Write what makes a folder a store."""
    values = dataclasses.asdict(StoreFile(FORMAT, content, part_images))
    write_text(path / INDEX, json.dumps(values, indent=2) + "\n")


def _check_part(part: Part, images: int, dim: int) -> None:
    """Raise `ValueError` if arrays do not fit each other."""
    shapes = [part.cls.shape, part.grids.shape]
    expected: list[tuple[int, ...]] = [(images, dim), (images, 2)]
    if part.patches is not None and shapes == expected:
        shapes.append(part.patches.shape)
        expected.append((int(part.starts[-1]), dim))
    if shapes != expected:
        raise ValueError(f"arrays of shapes {shapes} where {expected} were expected")
