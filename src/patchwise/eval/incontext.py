"""Segmentation by retrieval from labelled patches; nothing is trained."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_choice, check_positive, check_within
from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.errors import RangeError
from patchwise.eval.memory import Remembered, Sampling, choose_patches, remember
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.eval.results import SegmentationResult
from patchwise.eval.segmentation import segmentation_result
from patchwise.eval.setup import identify_segmentation, start
from patchwise.eval.squares import read_labels
from patchwise.features.read import read_features
from patchwise.features.search import Cells, nearest_exact, recall
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.ops.nearest import Nearest
from patchwise.randomness import random_order

_IMAGES, _CHECKED = 0, 2  # keys of draws
_RECALL_QUERIES = 1024  # at least, if there are as many, that the recall is measured on


@dataclass(frozen=True)
class InContext:
    """Each patch takes the softly weighted labels of its k most similar labelled patches.

    1. Memory: patches of the fit images (of a ``fraction`` of them, drawn by the seed), scaled to
       unit length, in float16, each with the shares of the classes in its pixels. Where there are
       more than ``memory``, they are drawn as evenly from all images as these have them; in an
       image by chance, or by chance times how common the patch's classes are in it (see
       `choose_patches`). Patches without a labelled pixel are left out; ignored pixels are no
       class.
    2. For each test patch, the k patches of the memory of highest cosine: exactly, or among those
       in the ``probes`` of ``cells`` that are nearest to it (see `Cells`).
    3. Scores = mean of their shares with weights softmax(cosine / temperature).
    4. Scores are enlarged bilinearly to the labels' size; arg max; one confusion matrix of all.

    No score depends on the memory that may be used, but for rounding.

    Source: Balazevic et al. 2023, "Hummingbird", arXiv:2306.01667; settings of Pariza et al. 2024,
        github.com/vpariza/open-hummingbird-eval.
    Differs: the search is exact by default; the memory holds no augmented copies, and is filled
        to the last place; its features are in float16; predicted classes are never matched to
        true ones; void is ignored in the memory, not taken for class 0; images are normalised by
        ImageNet's own deviation. See docs/incontext.md.
    """

    preset: str
    size_px: int  # to which images and labels are squashed
    memory: int = 10_240_000
    k: int = 30
    temperature: float = 0.02
    fraction: float = 1.0
    sampling: Sampling = "rare"
    search: Literal["exact", "approximate"] = "exact"
    cells: int = 4096  # of approximate search
    probes: int = 128  # of the cells
    seed: int = 0

    version = 2

    def __post_init__(self) -> None:
        name = "InContext"
        check_positive(name, size_px=self.size_px, memory=self.memory, k=self.k)
        check_positive(name, temperature=self.temperature, fraction=self.fraction)
        check_positive(name, cells=self.cells, probes=self.probes)
        check_within(name, 0, 1, fraction=self.fraction)
        check_choice(name, ("rare", "even"), sampling=self.sampling)
        check_choice(name, ("exact", "approximate"), search=self.search)

    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_segmentation(data), subject)
        matrix = ConfusionMatrix(len(data.classes), ignored=IGNORED)
        sample = _Sample(self.seed, -(-_RECALL_QUERIES // len(data.test)))
        approximate = self.search == "approximate"
        with ExitStack() as stack:
            memory = self._remember(subject, data)
            stack.enter_context(memory.keys)
            cells = stack.enter_context(self._cells(memory, subject)) if approximate else None
            for ids in _parts(range(len(data.test)), self._images_at_once(subject)):
                queries = self._queries(subject, data.test, ids)
                if cells is None:
                    found = nearest_exact(queries, memory.keys, self.k)
                else:
                    found = cells.nearest(queries, self.k, probes=self.probes)
                    sample.add(found, ids)
                mixed = self._mixed(memory, found, len(ids), subject.batch)
                for scores, part in zip(mixed, _parts(ids, subject.batch), strict=True):
                    labels = read_labels(data.test, part, size_px=self.size_px)
                    enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear")
                    matrix.add_images(enlarged.argmax(dim=1).cpu(), labels)
            reached = sample.recall(memory) if approximate else None
        return segmentation_result(matrix, data, setup.fingerprint(), search_recall=reached)

    def _remember(self, subject: Subject, data: SegmentationData) -> Remembered:
        wanted = max(1, round(self.fraction * len(data.fit)))
        ids = random_order(len(data.fit), self.seed, _IMAGES)[:wanted].tolist()
        classes = len(data.classes)
        chosen = choose_patches(
            data.fit,
            ids,
            square=(self.size_px, subject.backbone.patch_px, classes),
            most=self.memory,
            sampling=self.sampling,
            seed=self.seed,
        )
        if len(chosen) < self.k:
            raise RangeError(
                f"InContext: memory must hold at least k={self.k} labelled patches, "
                f"got {len(chosen)} of {len(ids)} images; give more images, or a lower k"
            )
        return remember(subject, data.fit, chosen, size_px=self.size_px, classes=classes)

    def _cells(self, memory: Remembered, subject: Subject) -> Cells:
        return Cells.build(
            memory.keys,
            self.cells,
            seed=self.seed,
            device=subject.backbone.device,
            memory_bytes=subject.memory_bytes // 4,
        )

    def _images_at_once(self, subject: Subject) -> int:
        """Return how many test images are searched for at a time: as many as half the memory takes.

        A query takes 4 bytes a channel, twice while the batches are joined; 24 bytes for each
        neighbour; and 40 for each cell that is probed.
        """
        probed = self.probes if self.search == "approximate" else 0
        query = 8 * subject.backbone.dim + 24 * self.k + 40 * probed
        patches = (self.size_px // subject.backbone.patch_px) ** 2
        return max(1, subject.memory_bytes // 2 // (query * patches))

    def _queries(
        self, subject: Subject, source: SegmentationSource, ids: Sequence[int]
    ) -> Float[Tensor, "Q D"]:
        """Return the patch features of images, of unit length."""
        read = read_features(subject, source.images, Squash(self.size_px), ids=ids)
        return torch.cat([F.normalize(found.patches, dim=-1).flatten(0, 1) for found in read])

    def _mixed(
        self, memory: Remembered, found: Nearest, images: int, batch: int
    ) -> Iterator[Float[Tensor, "B K S S"]]:
        """Yield the scores of the classes for every patch, a batch of images at a time."""
        patches = len(found.queries) // images
        side = math.isqrt(patches)
        for rows in torch.split(torch.arange(len(found.queries)), batch * patches):
            # Cells of too few vectors leave places empty: they weigh nothing.
            weights = (found.values[rows] / self.temperature).softmax(dim=1)
            mixed = memory.mix(weights, found.index[rows].clamp(min=0))
            yield mixed.reshape(-1, side, side, mixed.shape[1]).movedim(-1, 1)


class _Sample:
    """Some queries of approximate search, to be searched for exactly."""

    def __init__(self, seed: int, each: int) -> None:
        self.seed, self.each = seed, each  # queries an image
        self._queries: list[Tensor] = []
        self._found: list[Tensor] = []

    def add(self, found: Nearest, ids: Sequence[int]) -> None:
        """Take some queries of each image."""
        patches = len(found.queries) // len(ids)
        for place, image in enumerate(ids):
            order = random_order(patches, self.seed, image, _CHECKED)[: self.each]
            row = torch.from_numpy(order + place * patches).to(found.index.device)
            self._queries.append(found.queries[row])
            self._found.append(found.index[row])

    def recall(self, memory: Remembered) -> float:
        """Return the share of their exact neighbours that were found."""
        found = torch.cat(self._found)
        exact = nearest_exact(torch.cat(self._queries), memory.keys, found.shape[1])
        return recall(found, exact.index)


def _parts(ids: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(ids), length):
        yield ids[first : first + length]
