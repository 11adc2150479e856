"""A score of patch features that needs no labels: what two views of a place have in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchwise.augment.crop import Crops, apply_crops, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.augment.photometric import apply_photometric, sample_photometric
from patchwise.checks import check_positive, check_within
from patchwise.configs.views import ViewsConfig
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from patchwise.eval.objects import scored_images
from patchwise.eval.results import DataIdentity, DenseScoreResult
from patchwise.eval.setup import start
from patchwise.features.look import look
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.ops.geometry import match_nearest_patches
from patchwise.ops.shared import shared_dimensions
from patchwise.randomness import random_order

_IMAGES, _PAIRS = 0, 1  # keys of draws
_BLUR_PX, _BLUR_SIDE_PX = 2.0, 224  # DINO's strongest blur, for views of that side
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Pairs:
    """Patches of two views that show the same place, a row each, and where they lie in a view."""

    first: Float[Tensor, "M D"]
    second: Float[Tensor, "M D"]
    place_first: Int[Tensor, " M"]
    place_second: Int[Tensor, " M"]


@dataclass(frozen=True)
class DenseScore:
    """In how many directions two views agree about what a patch shows.

    1. Of more than ``images`` images that many are drawn; each is squashed to ``size_px``. Two
       views of each: random crops (``area_frac``), mirrored or not, with DINO's colour changes.
    2. Pairs of patches that show the same place; of more than ``pairs`` some are drawn.
    3. From each feature, the mean of all features at its place in the view is subtracted: a model
       that only knows where a patch lies is left with nothing.
    4. Score = sum of squared canonical correlations of the pairs, less that of pairs of different
       images; variance below ``ridge_frac`` of the mean over channels counts as none.

    The score is 0 for features that are constant, noise or a function of the place, and at most
    D. It depends on images, size and D: compare only what has these in common.

    Source: none. That a good representation keeps what views of one image share, and drops the
        rest, is the view of Thilak et al. 2023, "LiDAR", arXiv:2312.04000, of whole images.
    """

    preset: str
    size_px: int
    images: int = 256
    pairs: int = 50_000
    area_frac: tuple[float, float] = (0.4, 1.0)
    ridge_frac: float = 0.01
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "DenseScore"
        check_positive(name, size_px=self.size_px, pairs=self.pairs, ridge_frac=self.ridge_frac)
        check_within(name, 2, 10**9, images=self.images)
        low, high = self.area_frac
        check_positive(name, **{"area_frac[0]": low})
        check_within(name, low, 1.0, **{"area_frac[1]": high})

    @torch.inference_mode()
    def run(self, subject: Subject, data: ImageSource | SegmentationData) -> DenseScoreResult:
        """Score a model on images; of labelled ones (the test part), the labels are not read.

        Raises:
            DataError: There are fewer than two images, or no pairs.
        """
        source = scored_images(data)
        if len(source) < 2:
            raise DataError(f"DenseScore: data must hold at least 2 images, got {len(source)}")
        ids = np.sort(random_order(len(source), self.seed, _IMAGES)[: self.images])
        setup = start(self, DataIdentity(source.name, 0, len(ids), source.fingerprint()), subject)
        pairs = self._pairs(subject, source, ids)
        both = torch.cat([pairs.first, pairs.second]).double()
        variance = both.var(dim=0).mean()
        ridge = self.ridge_frac * variance
        score = 0.0
        if variance > _LEAST_VARIANCE * both.square().mean():
            first = _without_place(pairs.first.double(), pairs.place_first)
            second = _without_place(pairs.second.double(), pairs.place_second)
            others = second.roll(len(second) // 2, dims=0)  # of images half way round
            shared = shared_dimensions(first, second, ridge=ridge)
            score = float(shared - shared_dimensions(first, others, ridge=ridge))
        return DenseScoreResult(
            setup.fingerprint(), score=score, pairs=len(pairs.first), dim=pairs.first.shape[1]
        )

    def _pairs(self, subject: Subject, source: ImageSource, ids: Int[np.ndarray, " M"]) -> Pairs:
        """Return pairs, image after image."""
        parts: list[tuple[Tensor, ...]] = []
        for start_at in range(0, len(ids), subject.batch):
            chunk = ids[start_at : start_at + subject.batch]
            crops, views = zip(*self._views(source, chunk), strict=True)
            found = [look(subject.backbone, view) for view in views]
            matches = match_nearest_patches(
                crops[0].boxes, crops[0].flip, found[0].grid,
                crops[1].boxes, crops[1].flip, found[1].grid,
            )  # fmt: skip
            for row, index in enumerate(chunk.tolist()):
                valid = matches.valid[row]
                places = (matches.index_a[row, valid] - 1, matches.index_b[row, valid] - 1)
                drawn = self._drawn(len(places[0]), index, len(ids))
                place_a, place_b = (place[drawn].to(subject.backbone.device) for place in places)
                parts.append(
                    (found[0].patches[row, place_a], found[1].patches[row, place_b],
                     place_a, place_b)
                )  # fmt: skip
        first, second, place_first, place_second = (torch.cat(p) for p in zip(*parts, strict=True))
        if not len(first):
            raise DataError(
                f"DenseScore: views must have patches in common, got none of {len(ids)} images of "
                f"{self.size_px} px; give more images, or a larger size_px"
            )
        return Pairs(first, second, place_first, place_second)

    def _drawn(self, count: int, index: int, images: int) -> Int[Tensor, " K"]:
        """Return which of an image's pairs are taken: all, if all images have few."""
        kept = random_order(count, self.seed, index, _PAIRS)[: max(1, self.pairs // images)]
        return torch.from_numpy(np.sort(kept))

    def _views(
        self, source: ImageSource, ids: Sequence[int] | Int[np.ndarray, " B"]
    ) -> Iterator[tuple[Crops, UInt8[Tensor, "B 3 S S"]]]:
        """Yield the crops and the pixels of both views."""
        transform, chosen = Squash(self.size_px), np.asarray(ids)
        images = np.stack([transform(source.read(int(index))) for index in chosen])
        pixels = torch.from_numpy(images).movedim(-1, 1).contiguous()
        sizes = torch.full((len(chosen), 2), self.size_px)
        strongest = max(0.1, _BLUR_PX * self.size_px / _BLUR_SIDE_PX)
        colours = ViewsConfig(blur_sigma_px=(0.1, strongest))
        for view in (0, 1):
            key = DrawKey(self.seed, 0, chosen, view)
            crops = sample_crops(sizes, key, area_frac=self.area_frac)
            params = sample_photometric(key, colours, blur_prob=0.5, solarise_prob=0.0)
            made = apply_photometric(
                apply_crops(pixels, sizes, crops, size_px=self.size_px).clamp(0, 1), params
            )
            yield crops, (made.clamp(0, 1) * 255).round().to(torch.uint8)


def _without_place(
    features: Float[Tensor, "M D"], place: Int[Tensor, " M"]
) -> Float[Tensor, "M D"]:
    """Subtract from each feature the mean of all features at its place."""
    count = int(place.max()) + 1
    sums = features.new_zeros(count, features.shape[1]).index_add_(0, place, features)
    number = torch.bincount(place, minlength=count).clamp(min=1)
    return features - (sums / number[:, None])[place]
