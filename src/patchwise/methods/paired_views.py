"""The views of images and of a neighbour of each, side by side.

Letters: B images, N = 2 B images and neighbours, V views, S their side, L local views.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from patchwise.augment.crop import Crops
from patchwise.augment.draw import DrawKey, Purpose
from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.augment.overlapping_views import BESIDE_NONE, make_overlapping_views
from patchwise.configs.normalisation import Normalisation
from patchwise.configs.views import OverlappingViewsConfig
from patchwise.models.vit import ViT
from patchwise.types import ImageBatch


@dataclass(frozen=True)
class PairedViews:
    """Views of B images, and then of one neighbour of each: N in all, view after view."""

    teacher: Float[Tensor, "_ 3 _ _"]  # [2 N, 3, S, S]: the two global views, uncoloured
    student: tuple[Float[Tensor, "_ 3 _ _"], ...]  # a resolution each [V N, 3, S, S], coloured
    crops: tuple[Crops, ...]  # a view each, of N images, the global views first
    grids: tuple[tuple[int, int], ...]  # a view each: rows and columns of patches
    key: DrawKey  # of the first view

    @property
    def images(self) -> int:
        """N: images and neighbours."""
        return len(self.key)

    @property
    def local_views(self) -> int:
        """L."""
        return len(self.crops) - GLOBAL_VIEWS

    def local_pixels(self, first: int, count: int) -> Float[Tensor, "_ 3 _ _"]:
        """Return ``count`` of the local views from the ``first`` on, [count N, 3, S, S]."""
        start = first * self.images
        return self.student[1][start : start + count * self.images]

    def passes(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield the first and the number of the local views of each pass, ``most``; 0: of all."""
        step = most or max(1, self.local_views)
        for first in range(0, self.local_views, step):
            yield first, min(step, self.local_views - first)

    def kept(self, vit: ViT, first: int, count: int) -> Bool[Tensor, "VN depth 2"] | None:
        """Draw what stochastic depth keeps of some views' residuals; None: everything.

        As all draws they are keyed by image: not by place in a batch or part, nor by process.

        Args:
            vit: Which the views go through.
            first: Number of the first of the views, of all.
            count: Number of views.
        """
        rates = vit.config.drop_rates
        if not (vit.training and any(rates)):
            return None
        keys = (replace(self.key, view=view) for view in range(first, first + count))
        drawn = [key.uniform(2 * len(rates), Purpose.DROP_PATH) for key in keys]
        kept = np.concatenate(drawn).reshape(-1, len(rates), 2) >= np.array(rates)[:, None]
        return torch.from_numpy(kept).to(self.teacher.device, non_blocking=True)

    def sort(self, samples: Shaped[Tensor, "VN ..."] | None) -> Shaped[Tensor, "VN ..."] | None:
        """Return samples of the global views as `by_image` sorts them; none if there are none."""
        if samples is None:
            return None
        return by_image(samples.reshape(-1, self.images, *samples.shape[1:]))

    def uniform(self, count: int, draw: int, device: torch.device) -> Float[Tensor, "N count"]:
        """Return numbers in [0, 1) of each image and neighbour; ``draw`` numbers the draws."""
        drawn = replace(self.key, view=draw).uniform(count, Purpose.RANKED_CELLS)
        return torch.from_numpy(drawn).to(device, non_blocking=True)


def make_paired_views(
    images: ImageBatch,
    neighbours: ImageBatch,
    views: OverlappingViewsConfig,
    *,
    patch_px: int,
    seed: int,
    normalisation: Normalisation,
) -> PairedViews:
    """Make the views of images and of their neighbours; see `make_overlapping_views`.

    Args:
        images: B images.
        neighbours: Of image i at place i; their views depend on whose neighbours they are.
        views: What to draw.
        patch_px: Side of a patch.
        seed: Of the run and the image set.
        normalisation: Of the backbone that is to see them.
    """
    made = make_overlapping_views(
        images.followed_by(neighbours),
        views,
        patch_px=patch_px,
        seed=seed,
        beside=torch.cat([torch.full_like(images.ids, BESIDE_NONE), images.ids]),
        normalisation=normalisation,
    )
    student = made.student
    return PairedViews(made.teacher, student.pixels, student.crops, student.grids, student.keys[0])


def by_image(rows: Shaped[Tensor, "V N ..."]) -> Shaped[Tensor, "VN ..."]:
    """Return rows sorted by image: each one's views, then those of its neighbour, [V N, ...].

    In this order the rows of a batch are those of its parts, one after the other.
    """
    pairs = rows.reshape(len(rows), 2, -1, *rows.shape[2:])  # [V, 2, B, ...]
    return pairs.movedim(2, 0).movedim(2, 1).flatten(0, 2)
