"""Writing the features of all images of a source, by one process or by many."""

import fcntl
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from patchwise.data.folder import FileList, printable
from patchwise.data.loader import iterate_images
from patchwise.data.source import ImageSource
from patchwise.errors import DataError, RangeError
from patchwise.features.claims import Claims
from patchwise.features.content import Content, Request, describe, differences
from patchwise.features.progress import ImageProgress
from patchwise.features.store import INDEX, PARTS, FeatureStore, open_store, write_index
from patchwise.features.subject import Subject
from patchwise.features.windows import look_through
from patchwise.files import atomic_path, write_text
from patchwise.types import ImageBatch

_PART_BYTES = 128 * 2**20  # of the features of a part, about: one is held in memory
_LEAST_IMAGES, _MOST_IMAGES, _PARTS = 32, 1024, 32
_WAITING = 4  # batches of images of sizes that have not made a batch yet


@runtime_checkable
class Listed(Protocol):
    """A source whose images have paths."""

    @property
    def files(self) -> FileList:
        """The paths, in the order of the images."""
        ...


def embed_source(subject: Subject, request: Request, path: Path) -> FeatureStore:
    """Write the features of all images into a store, or those that it lacks.

    Any number of processes may do so at the same time: each takes parts that no other one has.
    All of them return when the store is complete. One that is killed loses the part it was at.

    Raises:
        DataError: The folder holds something else, cannot be written, or an image is bad.
        RangeError: A feature is not finite, or too large for float16.
    """
    try:
        store = _create(path, describe(subject, request), request)
        folder = path / PARTS
        folder.mkdir(exist_ok=True)
        with Claims(folder) as claims:
            _Embedding(subject, request, store, claims).run()
    except OSError as error:
        raise DataError(
            f"embed: out must be a folder that can be written, got {error}; what is there "
            f"already is kept: the same command goes on"
        ) from error
    return open_store(path)


def _create(path: Path, content: Content, request: Request) -> FeatureStore:
    """Make a store of a content, unless there is one; two processes may try at the same time."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / INDEX).exists():
            for left_over in path.glob(f".{INDEX}.*.partial"):
                left_over.unlink()  # of a process that was killed
            others = [file for file in path.iterdir() if file.name != ".lock"]
            if others:
                raise DataError(
                    f"embed: out must be a store, or empty, got '{path}' with {len(others)} "
                    f"files or folders; choose another folder"
                )
            write_index(path, content, _images_per_part(content, request))
    store = open_store(path)
    wrong = differences(store.content, content)
    if store.has_patches != content.patches:
        names = ("CLS alone", "CLS and patches")
        wrong.append(f"patches ({names[store.has_patches]}, wanted {names[content.patches]})")
    if wrong:
        raise DataError(
            f"embed: out must hold the features that are wanted, or none, got '{path}' with others:"
            f" they differ in {', '.join(wrong)}; choose another folder"
        )
    return store


def _images_per_part(content: Content, request: Request) -> int:
    """Return how many images make a part: features of `_PART_BYTES` at most, by some images."""
    shapes = [
        request.transform(request.source.read(glance.image)).shape
        for glance in content.data.glances
    ]
    patches = max(shape[0] * shape[1] for shape in shapes) // content.patch_px**2
    features = 1 + (patches if content.patches else 0)
    most = min(_MOST_IMAGES, max(1, _PART_BYTES // (2 * content.dim * features)))
    return min(most, max(_LEAST_IMAGES, -(-content.data.count // _PARTS)))


class _Embedding:
    """What one process does for a store."""

    def __init__(
        self, subject: Subject, request: Request, store: FeatureStore, claims: Claims
    ) -> None:
        self._subject, self._request, self._store = subject, request, store
        self._claims = claims
        self._own: set[int] = set()
        self._images = 0  # of own parts, and of the one in work

    def run(self) -> None:
        """Embed what nobody else does; then wait for the others, and take over what they leave."""
        there = self._store.parts_there()
        if len(there) == self._store.part_count:
            return
        before = sum(len(self._store.images_of(number)) for number in there)
        progress = ImageProgress(self._subject.notes.say, total=len(self._store), done=before)
        numbers = range(self._store.part_count)
        self._embed((n for n in numbers if self._take(n, wait=False)), progress)
        if not self._store.complete:
            self._subject.notes.say("waiting for what other processes are embedding")
        for number in numbers:
            if self._take(number, wait=True):
                self._embed([number], progress)
        progress.end(before + self._images)

    def _take(self, number: int, *, wait: bool) -> bool:
        """Claim a part that is still to be made."""
        if self._store.has_part(number) or not self._claims.take(number, wait=wait):
            return False
        if self._store.has_part(number):
            self._claims.give_back(number, done=True)
            return False
        return True

    def _embed(self, numbers: Iterable[int], progress: ImageProgress) -> None:
        """Make parts; each is claimed when its first images are about to be read."""
        part = None
        for images in iterate_images(
            self._request.source,
            self._jobs(numbers),
            self._request.transform,
            workers=self._subject.workers,
        ):
            number = int(images.ids[0]) // self._store.part_images
            if part is None:
                part = PartInWork(self._subject, self._request, self._store.images_of(number))
            part.add(images)
            self._images += len(images)
            if part.is_full:
                part.write(self._store, number)
                self._own.add(number)
                self._claims.give_back(number, done=True)
                part = None
            progress.show(self._done())

    def _jobs(self, numbers: Iterable[int]) -> Iterator[NDArray[np.int64]]:
        """Yield the images of parts, a batch at a time; no batch has images of two parts."""
        for number in numbers:
            images = np.array(self._store.images_of(number), np.int64)
            for first in range(0, len(images), self._subject.batch):
                yield images[first : first + self._subject.batch]

    def _done(self) -> int:
        """Return how many images are embedded, by all processes."""
        others = set(self._store.parts_there()) - self._own
        return self._images + sum(len(self._store.images_of(number)) for number in others)


class PartInWork:
    """The features of a part, which get there in any order: images of one size go together."""

    def __init__(self, subject: Subject, request: Request, images: range) -> None:
        self._subject, self._request, self._images = subject, request, images
        self._cls = np.empty((len(images), subject.backbone.dim), np.float16)
        self._grids = np.zeros((len(images), 2), np.int32)
        self._patches: dict[int, NDArray[np.float16]] = {}
        self._waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        self._read = 0

    @property
    def is_full(self) -> bool:
        """Whether all images were added."""
        return self._read == len(self._images)

    def add(self, images: ImageBatch) -> None:
        """Add images; those whose size has made a batch are looked at."""
        for pixels, (height, width), index in zip(
            images.pixels, images.sizes.tolist(), images.ids.tolist(), strict=True
        ):
            group = self._waiting.setdefault((height, width), [])
            group.append((index - self._images.start, pixels[:, :height, :width]))
            if len(group) == self._subject.batch:
                self._look((height, width))
        self._read += len(images)
        while self._waiting and (self.is_full or self._too_many()):
            self._look(max(self._waiting, key=lambda size: len(self._waiting[size])))

    def write(self, store: FeatureStore, number: int) -> None:
        """Write a part that is full. The grids come last: with them, the part is there."""
        for left_over in store.file_of(number, "").parent.glob(f".{number:05}.*.partial"):
            left_over.unlink()  # of a process that was killed
        _save(store.file_of(number, "cls.npy"), [self._cls], self._cls.shape)
        if self._request.patches:
            arrays = (self._patches.pop(row) for row in range(len(self._images)))
            shape = (int(self._grids.prod(axis=1, dtype=np.int64).sum()), self._cls.shape[1])
            _save(store.file_of(number, "patches.npy"), arrays, shape)
        names = [image_name(self._request.source, index) for index in self._images]
        write_text(store.file_of(number, "names.json"), json.dumps(names) + "\n")
        _save(store.file_of(number, "grids.npy"), [self._grids], self._grids.shape)

    def _too_many(self) -> bool:
        return sum(map(len, self._waiting.values())) > _WAITING * self._subject.batch

    def _look(self, size: tuple[int, ...]) -> None:
        """Get the features of the images of one size that wait."""
        rows, pixels = zip(*self._waiting.pop(size), strict=True)
        output = look_through(
            self._request.windows,
            self._subject.backbone,
            torch.stack(pixels),
            batch=self._subject.batch,
        )
        self._cls[list(rows)] = self._halved(output.cls, rows)
        self._grids[list(rows)] = output.grid
        if self._request.patches:
            halved = self._halved(output.patches, rows)
            self._patches.update(zip(rows, halved, strict=True))

    def _halved(
        self, features: Float[Tensor, "B ..."], rows: tuple[int, ...]
    ) -> NDArray[np.float16]:
        halved: NDArray[np.float16] = features.half().cpu().numpy()
        if not np.isfinite(halved).all():
            image, value = max(enumerate(features.abs().flatten(1).amax(1)), key=lambda one: one[1])
            name = image_name(self._request.source, self._images[rows[image]])
            raise RangeError(
                f"embed: features must lie in [-65504, 65504], which is what float16 holds, "
                f"got {float(value):.6g} in {name!r}; use such a model without a store"
            )
        return halved


def _save(path: Path, arrays: Iterable[NDArray[np.generic]], shape: tuple[int, ...]) -> None:
    """Write arrays, one after the other, as one of ``shape``."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for number, array in enumerate(arrays):
            if not number:
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(array).data)


def image_name(source: ImageSource, index: int) -> str:
    """Return the path of an image in its source; what messages call it, if it has none."""
    return (
        printable(source.files.name(index))
        if isinstance(source, Listed)
        else source.describe(index)
    )
