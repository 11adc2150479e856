"""Labelled patches to be found again: which are remembered, their features and their classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from patchwise.data.segmentation import SegmentationSource
from patchwise.eval.squares import class_shares, read_labels, read_patches
from patchwise.features.subject import Subject
from patchwise.features.vectors import Vectors
from patchwise.randomness import random_uniform

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Sampling = Literal["rare", "even"]
_PATCHES = 1  # key of draws


@dataclass(frozen=True)
class Chosen:
    """Which patches of which images are remembered."""

    ids: Sequence[int]  # of the images
    patches: Sequence[NDArray[np.int32]]  # of each image, in the order in which they were drawn

    def __len__(self) -> int:
        return sum(map(len, self.patches))


@dataclass(frozen=True)
class Remembered:
    """Features of patches with the shares of their classes; sparse, as most have but one or two."""

    keys: Vectors
    shares: "csr_array"  # [M, K], float32; what is not 0 takes 8 bytes

    def mix(
        self, weights: Float[Tensor, "Q k"], index: Int64[Tensor, "Q k"]
    ) -> Float[Tensor, "Q K"]:
        """Return, for each query, the weighted sum of the shares of the patches with ``index``."""
        from scipy.sparse import csr_array  # noqa: PLC0415 - only where it is used

        count, k = weights.shape
        starts = np.arange(0, count * k + 1, k)
        values, places = weights.float().cpu().numpy().ravel(), index.cpu().numpy().ravel()
        chosen = csr_array((values, places, starts), shape=(count, len(self.keys)))
        return torch.from_numpy((chosen @ self.shares).toarray()).to(weights.device)


def choose_patches(
    source: SegmentationSource,
    ids: Sequence[int],
    *,
    square: tuple[int, int, int],
    most: int,
    sampling: Sampling,
    seed: int,
) -> Chosen:
    """Draw at most ``most`` labelled patches, as evenly from all images as these have them.

    All images give their first patch, then all their second, and so on; of the last round, those
    that come first in ``ids``. Only labels are read.

    Args:
        source: Labelled images.
        ids: The images to draw from.
        square: Side of the image and of a patch in pixels, and the number of classes.
        most: Patches to draw.
        sampling: The order in which an image gives its patches. ``"even"``: by chance. ``"rare"``:
            by u times the sum, over the classes in the patch, of the number of patches of this
            image that show the class, where u is uniform in [0, 1): rare classes come first.
        seed: Of the draws.
    """
    size_px, patch_px, classes = square
    drawn: list[NDArray[np.int32]] = []
    level, held = most, 0
    for index in ids:
        labels = read_labels(source, [index], size_px=size_px)
        shown = class_shares(labels, patch_px=patch_px, classes=classes)[0] > 0
        order = _order(shown, index, sampling, seed)[:level]
        drawn.append(order)
        held += len(order)
        if held > 2 * most + len(order):  # no more than the level can be wanted of any image
            level = _level(drawn, most)
            drawn = [each[:level].copy() for each in drawn]
            held = sum(map(len, drawn))
    level = _level(drawn, most)
    spare = most - sum(min(len(each), level - 1) for each in drawn)
    kept = []
    for each in drawn:
        last = len(each) >= level and spare > 0
        spare -= last
        kept.append(each[: level if last else level - 1])
    return Chosen(ids, kept)


def remember(
    subject: Subject,
    source: SegmentationSource,
    chosen: Chosen,
    *,
    size_px: int,
    classes: int,
) -> Remembered:
    """Return unit features and class shares of the chosen patches.

    A quarter of the memory that the subject may use is for the features; where they do not fit,
    they are kept on the disk. Whoever asks for them closes ``keys``.
    """
    from scipy.sparse import csr_array, vstack  # noqa: PLC0415 - only where it is used

    memory_bytes = subject.memory_bytes // 4
    keys = Vectors(len(chosen), subject.backbone.dim, memory_bytes=memory_bytes)
    rows, image, first = [], 0, 0
    for patches in read_patches(subject, source, chosen.ids, size_px=size_px, classes=classes):
        for features, share in zip(patches.features, patches.shares, strict=True):
            taken = torch.from_numpy(chosen.patches[image]).long().to(features.device)
            keys.write(first, F.normalize(features[taken], dim=1))
            own = share[taken]
            rows.append(csr_array((own / own.sum(dim=1, keepdim=True)).cpu().numpy()))
            image, first = image + 1, first + len(taken)
    return Remembered(keys, vstack(rows, format="csr"))


def _order(
    shown: Bool[Tensor, "N K"], image: int, sampling: Sampling, seed: int
) -> NDArray[np.int32]:
    """Return the labelled patches of an image in the order in which they are drawn."""
    labelled = shown.any(dim=1).nonzero()[:, 0].numpy()
    chance = random_uniform(len(labelled), seed, image, _PATCHES)
    if sampling == "rare":
        present = shown.double().numpy()
        chance *= (present @ present.sum(axis=0))[labelled]
    return labelled[np.argsort(chance, kind="stable")].astype(np.int32)


def _level(drawn: Sequence[NDArray[np.int32]], most: int) -> int:
    """Return the lowest number, of at most that many patches an image, that gives ``most``."""
    counts = np.array([len(each) for each in drawn])
    low, high = 1, int(counts.max(initial=1))
    while low < high:
        middle = (low + high) // 2
        if int(np.minimum(counts, middle).sum()) >= most:
            high = middle
        else:
            low = middle + 1
    return low
