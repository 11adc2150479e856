"""Segmentation by retrieval from labelled patches; nothing is trained."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive, check_within
from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData
from patchwise.errors import RangeError
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.eval.results import SegmentationResult
from patchwise.eval.segmentation import segmentation_result
from patchwise.eval.setup import identify_segmentation, start
from patchwise.eval.squares import read_patches
from patchwise.features.subject import Subject
from patchwise.randomness import random_order

_IMAGES, _PATCHES = 0, 1  # keys of draws
_COMPARED = 2**26  # pairs of query and memory whose cosines are held at a time


class Memory:
    """Keeps at most ``most`` patches, as evenly from all images as they have them.

    All images give their first patch, then all their second, and so on; of the last round, those
    of the images that were added first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._keys: list[Tensor] = []
        self._shares: list[Tensor] = []
        self._rounds: list[Tensor] = []
        self._held = 0

    def add(self, keys: Float[Tensor, "N D"], shares: Float[Tensor, "N K"]) -> None:
        """Add the patches of one image, in the order in which they may be drawn."""
        self._keys.append(keys[: self.most])
        self._shares.append(shares[: self.most])
        self._rounds.append(torch.arange(len(self._keys[-1])))
        self._held += len(self._keys[-1])
        if self._held > 2 * self.most + len(keys):
            self._thin()

    def drawn(self) -> tuple[Float[Tensor, "M D"], Float[Tensor, "M K"]]:
        """Return what is kept."""
        self._thin()
        return self._keys[0], self._shares[0]

    def _thin(self) -> None:
        """Drop what would not be drawn however many images follow."""
        rounds = torch.cat(self._rounds)
        kept = rounds.argsort(stable=True)[: self.most].sort().values
        keys, shares = torch.cat(self._keys), torch.cat(self._shares)
        place = kept.to(keys.device)
        self._keys, self._shares = [keys[place]], [shares[place]]
        self._rounds, self._held = [rounds[kept]], len(kept)


@dataclass(frozen=True)
class InContext:
    """Each patch takes the softly weighted labels of its k most similar labelled patches.

    1. Memory: patches of the fit images (of a ``fraction`` of them, drawn by the seed), scaled to
       unit length, each with the shares of the classes in its pixels. Where there are more than
       ``memory``, they are drawn as evenly from all images as these have them. Patches without a
       labelled pixel are left out; ignored pixels are no class.
    2. For each test patch, the k patches of the memory of highest cosine.
    3. Scores = mean of their shares with weights softmax(cosine / temperature).
    4. Scores are enlarged bilinearly to the labels' size; arg max; one confusion matrix of all.

    Source: Balazevic et al. 2023, "Hummingbird", arXiv:2306.01667; settings of Pariza et al. 2024,
        github.com/vpariza/open-hummingbird-eval.
    Differs: exact search; patches are drawn evenly, not by the rarity of their classes; the memory
        holds no augmented copies; predicted classes are never matched to true ones; void is ignored
        in the memory, not taken for class 0; images are normalised by ImageNet's own deviation.
    """

    preset: str
    size_px: int  # to which images and labels are squashed
    memory: int = 10_240_000
    k: int = 30
    temperature: float = 0.02
    fraction: float = 1.0
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "InContext"
        check_positive(name, size_px=self.size_px, memory=self.memory, k=self.k)
        check_positive(name, temperature=self.temperature, fraction=self.fraction)
        check_within(name, 0, 1, fraction=self.fraction)

    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_segmentation(data), subject)
        keys, shares = self._memory(subject, data)
        matrix = ConfusionMatrix(len(data.classes), ignored=IGNORED)
        for patches in read_patches(
            subject,
            data.test,
            range(len(data.test)),
            size_px=self.size_px,
            classes=len(data.classes),
        ):
            queries = F.normalize(patches.features, dim=-1).flatten(0, 1)
            blocks = torch.split(queries, max(1, _COMPARED // len(keys)))
            found = [self._retrieve(block, keys, shares) for block in blocks]
            side = self.size_px // subject.backbone.patch_px
            scores = torch.cat(found).reshape(len(patches.labels), side, side, -1).movedim(-1, 1)
            enlarged = F.interpolate(scores, size=patches.labels.shape[1:], mode="bilinear")
            matrix.add_images(enlarged.argmax(dim=1).cpu(), patches.labels)
        return segmentation_result(matrix, data, setup.fingerprint())

    def _memory(
        self, subject: Subject, data: SegmentationData
    ) -> tuple[Float[Tensor, "M D"], Float[Tensor, "M K"]]:
        """Return unit features and class shares of the labelled patches."""
        wanted = max(1, round(self.fraction * len(data.fit)))
        ids = random_order(len(data.fit), self.seed, _IMAGES)[:wanted].tolist()
        memory = Memory(self.memory)
        image = 0
        for patches in read_patches(
            subject, data.fit, ids, size_px=self.size_px, classes=len(data.classes)
        ):
            for features, share in zip(patches.features, patches.shares, strict=True):
                labelled = share.sum(dim=-1).nonzero()[:, 0]
                order = random_order(len(labelled), self.seed, ids[image], _PATCHES)
                chosen = labelled[torch.from_numpy(order.copy()).to(labelled.device)]
                total = share[chosen].sum(dim=-1, keepdim=True)
                memory.add(F.normalize(features[chosen], dim=-1), share[chosen] / total)
                image += 1
        found = memory.drawn()
        if len(found[0]) < self.k:
            raise RangeError(
                f"InContext: memory must hold at least k={self.k} labelled patches, "
                f"got {len(found[0])} of {len(ids)} images; give more images, or a lower k"
            )
        return found

    def _retrieve(
        self,
        queries: Float[Tensor, "Q D"],
        keys: Float[Tensor, "M D"],
        shares: Float[Tensor, "M K"],
    ) -> Float[Tensor, "Q K"]:
        cosine, index = (queries @ keys.T).topk(self.k, dim=-1)
        weight = (cosine / self.temperature).softmax(dim=-1)
        return torch.einsum("qj,qjk->qk", weight, shares[index])
