"""k-NN classification of patches by their majority class."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.checks import check_positive, check_within
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.errors import DataError
from patchwise.eval.knn import KNN, knn_result
from patchwise.eval.results import ClassificationResult
from patchwise.eval.setup import identify_segmentation, start
from patchwise.eval.squares import read_patches
from patchwise.features.subject import Subject
from patchwise.randomness import random_order

_MEMORY, _QUERIES = 0, 1  # keys of draws


@dataclass(frozen=True)
class KNNPatches:
    """Each patch of the test images takes the class of the most similar patches of the others.

    1. A patch has the class that most of its pixels are of, if that is at least ``least_share`` of
       them and not the background; other patches do not count.
    2. The patches of the fit images are the memory, those of the test images the queries; of more
       than ``memory`` or ``queries`` that many are drawn.
    3. Weighted k-NN, as for images: `KNN`.
    """

    preset: str
    size_px: int  # to which images are squashed
    k: int = 20
    temperature: float = 0.07
    least_share: float = 0.5
    memory: int = 102_400
    queries: int = 102_400
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        check_positive("KNNPatches", size_px=self.size_px, memory=self.memory, queries=self.queries)
        check_within("KNNPatches", 0, 1, least_share=self.least_share)

    def run(self, subject: Subject, data: SegmentationData) -> ClassificationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_segmentation(data), subject)
        memory, labels, _ = self._labelled(subject, data, data.fit, self.memory, _MEMORY)
        queries, truth, image = self._labelled(subject, data, data.test, self.queries, _QUERIES)
        votes = KNN(self.k, self.temperature).classify(queries, memory, labels)
        return knn_result(
            votes, truth, memory=len(memory), fingerprint=setup.fingerprint(), image=image
        )

    def _labelled(
        self, subject: Subject, data: SegmentationData, part: SegmentationSource,
        most: int, key: int,
    ) -> tuple[Float[Tensor, "M D"], Int[Tensor, " M"], Int[Tensor, " M"]]:  # fmt: skip
        """Return features, class and image of the patches that have a class."""
        found, classes, images = [], [], []
        first = 0
        for patches in read_patches(
            subject, part, range(len(part)), size_px=self.size_px, classes=len(data.classes)
        ):
            if data.background is not None:
                patches.shares[..., data.background] = 0
            share, label = patches.shares.max(dim=-1)
            kept = (share >= self.least_share) & (share > 0)
            found.append(patches.features[kept].cpu())
            classes.append(label[kept].cpu())
            images.append(first + kept.nonzero()[:, 0].cpu())
            first += len(kept)
        features, labels, image = torch.cat(found), torch.cat(classes), torch.cat(images)
        if not len(features):
            raise DataError(
                f"evaluate: labels of {data.name!r} must show patches that are mostly of one "
                f"class, not the background, got none in {len(part)} images"
            )
        if len(features) > most:
            chosen = torch.from_numpy(random_order(len(features), self.seed, key)[:most].copy())
            features, labels, image = features[chosen], labels[chosen], image[chosen]
        return features, labels, image
