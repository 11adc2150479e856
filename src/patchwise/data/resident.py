"""Image sets that stay in memory: every image is read once, and served from there ever after."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from patchwise.checks import check_positive
from patchwise.data.bad_images import BadImage
from patchwise.data.images import ImageProblem, ResizeRule, resized_size
from patchwise.data.reader import Job, Read, Reader, read_jobs
from patchwise.data.source import ImageSource, StoredSource
from patchwise.types import ImageBatch

_WORD = 16  # bytes: a row of a channel fills whole words, which are gathered at once
_SAMPLED_IMAGES = 64


class Packed(NamedTuple):
    """Images for `ResidentImages`, one after the other; those that are bad are only named."""

    words: UInt8[Tensor, "words 16"]
    ids: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, "n 2"]  # height, width
    bad: list[BadImage]


class ResidentImages:
    """Images on a device, each in its own size, with the rows of its channels in whole words.

    Memory: 3 x height x width bytes an image, the width rounded up to a multiple of 16. While a
    batch is put together, up to twice its padded pixels, and half of them for their places.
    """

    def __init__(self, number: int, device: torch.device, expected_bytes: int) -> None:
        check_positive("ResidentImages", number=number)
        self.device = device
        capacity = 1 + -(-expected_bytes // _WORD)
        self._words = _empty_words(capacity, self.device)
        self._words[0] = 0  # what padding shows
        self._used = 1
        self._first = np.zeros(number, np.int64)  # word of each image; 0: it is not here
        self._sizes = np.zeros((number, 2), np.int64)

    def __contains__(self, index: int) -> bool:
        return bool(self._first[index])

    @property
    def nbytes(self) -> int:
        """Bytes that the images take, without room for more."""
        return (self._used - 1) * _WORD

    def add(self, packed: Packed) -> None:
        """Keep images, but for those that are here already."""
        counts = _words_of(packed.sizes)
        new = self._first[packed.ids] == 0
        if not new.all():
            words = packed.words[torch.from_numpy(np.repeat(new, counts))]
            packed = Packed(words, packed.ids[new], packed.sizes[new], packed.bad)
            counts = counts[new]
        end = self._used + len(packed.words)
        if end > len(self._words):
            grown = _empty_words(end + end // 8, self.device)
            grown[: self._used] = self._words[: self._used]
            self._words = grown
        self._words[self._used : end].view(torch.uint8).copy_(packed.words)
        self._first[packed.ids] = self._used + np.cumsum(counts) - counts
        self._sizes[packed.ids] = packed.sizes
        self._used = end

    def batch(self, ids: Sequence[int], *, epoch: int) -> ImageBatch:
        """Return images as `collate` would, with the pixels on the device; all must be here."""
        index = np.asarray(ids, np.int64)
        sizes = self._sizes[index]
        height, width = (int(side) for side in sizes.max(axis=0))
        facts = np.stack([self._first[index], sizes[:, 0], -(-sizes[:, 1] // _WORD)])
        on_device = torch.from_numpy(facts).to(self.device, non_blocking=True)
        first, high, wide = on_device[:, :, None, None, None]  # each [B, 1, 1, 1]
        channel, row, word = (
            torch.arange(length, device=self.device) for length in (3, height, -(-width // _WORD))
        )
        row = row[:, None]  # [H, 1]
        place = first + (channel[:, None, None] * high + row) * wide + word  # [B, 3, H, words]
        place.masked_fill_((row >= high) | (word >= wide), 0)
        words = self._words.index_select(0, place.flatten())
        pixels = words.view(torch.uint8).view(len(index), 3, height, -1)[..., :width].contiguous()
        return ImageBatch(pixels, torch.from_numpy(sizes), torch.from_numpy(index), epoch)


@dataclass(frozen=True)
class Residence:
    """Where images are kept. Streams of one source may share it: then they are there once."""

    device: torch.device
    expected_bytes: int  # see `resident_bytes`; more are found when they are needed
    _made: list[ResidentImages] = field(default_factory=list, init=False, repr=False, compare=False)

    def images(self, number: int) -> ResidentImages:
        """Return the images that are here, of a source of ``number``; none at first."""
        if not self._made:
            self._made.append(ResidentImages(number, self.device, self.expected_bytes))
        return self._made[0]


def read_once(
    reader: Reader, jobs: Callable[[], Iterator[Job]], workers: int, residence: Residence
) -> Generator[Read, None, None]:
    """Yield what `read_jobs` would, bit for bit, but read no image of the source twice.

    1. A batch wants images; those that no batch before it wanted are read ahead by workers.
    2. They are added to the images that are here, and the batch is put together from these.
    3. The rare image that this does not foresee, in place of a bad one, is read by this process.
    4. When every image is here, the workers end.

    Args:
        reader: Of whole batches; says which images stand in for bad ones.
        jobs: Returns the jobs from the first one on, the same each time.
        workers: Processes that read ahead.
        residence: Where the images are kept.

    Raises:
        DeadWorker: A worker ended before its work did.
    """
    images = residence.images(len(reader.source))
    bad: dict[int, BadImage] = {}
    packer = _Packer(reader)

    def take(packed: Packed) -> None:
        images.add(packed)
        bad.update({found.index: found for found in packed.bad})

    def trial(index: int) -> BadImage | None:
        if index not in images and index not in bad:
            take(packer[np.array([index])])
        return bad.get(index)

    def serve(job: Job) -> Read:
        chosen = reader.choose(job, trial)
        batches = (
            None if ids is None else images.batch(ids, epoch=job.epoch)
            for ids in (chosen.ids, chosen.neighbours)
        )
        return Read(next(batches), chosen.bad, next(batches))

    remaining = jobs()
    ahead = (ids for _, ids in _first_wanted(reader, jobs()) if len(ids))
    with closing(read_jobs(packer, ahead, workers)) as reads:
        for job, ids in _first_wanted(reader, remaining):
            if len(ids):
                take(next(reads))
            yield serve(job)
    for job in remaining:  # every image is here
        yield serve(job)


def resident_bytes(source: ImageSource, rule: ResizeRule | None) -> int:
    """Estimate the memory that all images of a source take in `ResidentImages`, from some of them.

    It is exact for images of one size; for others three standard errors are added.
    """
    sizes = _sample_sizes(source)  # turned by EXIF or not, an image takes as much
    if not sizes:
        return 0
    resized = sizes if rule is None else [resized_size(size, rule) for size in sizes]
    each = _WORD * _words_of(np.array(resized))
    mean, spread = float(each.mean()), float(each.std())
    return math.ceil(len(source) * (mean + 3 * spread / math.sqrt(len(each))))


def _first_wanted(
    reader: Reader, jobs: Iterator[Job]
) -> Iterator[tuple[Job, Int64[np.ndarray, " n"]]]:
    """Yield each job with the images that none before it wanted, until all have been wanted."""
    wanted = np.zeros(len(reader.source), np.bool_)
    for job in jobs:
        ids = job.ids
        if reader.nearby is not None:
            ids = np.concatenate([ids, reader.nearby.candidates(ids, job.epoch)[:, 0]])
        new = np.unique(ids[~wanted[ids]])
        wanted[new] = True
        yield job, new
        if wanted.all():
            return


@dataclass(frozen=True)
class _Packer(Dataset[Packed]):
    """Reads images for `ResidentImages`; this is what runs in a worker."""

    reader: Reader

    def __getitem__(self, ids: Int64[np.ndarray, " n"]) -> Packed:
        good: list[int] = []
        images: list[NDArray[np.uint8]] = []
        bad: list[BadImage] = []
        for index in ids.tolist():
            found = self.reader.attempt(index)
            if not isinstance(found, BadImage):
                good.append(index)
                images.append(found)
                continue
            bad.append(found)
            if len(bad) >= self.reader.enough:
                break
        sizes = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
        return Packed(_pack(images, sizes), np.array(good, np.int64), sizes, bad)


def _pack(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], sizes: Int64[np.ndarray, "n 2"]
) -> UInt8[Tensor, "words 16"]:
    counts = _words_of(sizes)
    words = torch.zeros(int(counts.sum()), _WORD, dtype=torch.uint8)
    pieces = np.split(words.numpy(), np.cumsum(counts)[:-1])
    for piece, image in zip(pieces, images, strict=len(images) > 0):
        height, width = image.shape[:2]
        piece.reshape(3, height, -1)[..., :width] = image.transpose(2, 0, 1)
    return words


def _words_of(sizes: Int64[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
    """Return how many words images of these heights and widths fill."""
    words: Int64[np.ndarray, " n"] = 3 * sizes[:, 0] * -(-sizes[:, 1] // _WORD)
    return words


def _empty_words(number: int, device: torch.device) -> Int64[Tensor, "words 2"]:
    """Return room for words; as whole numbers of 8 bytes they are gathered faster."""
    return torch.empty(number, _WORD // 8, dtype=torch.int64, device=device)


def _sample_sizes(source: ImageSource) -> list[tuple[int, int]]:
    """Return heights and widths of some images, without decoding them where they have headers."""
    sizes = []
    for index in np.linspace(0, len(source) - 1, num=min(len(source), _SAMPLED_IMAGES)).astype(int):
        with suppress(ImageProblem):  # it takes no room
            if isinstance(source, StoredSource):
                header = source.header(int(index))
                sizes.append((header.height, header.width))
            else:
                height, width = source.read(int(index)).shape[:2]
                sizes.append((height, width))
    return sizes
