"""The views of a training step: two global and some local crops of each image, recoloured."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.augment.crop import Crops, apply_crops, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.augment.patch_photometric import (
    PatchPhotometric,
    apply_patch_photometric,
    sample_patch_photometric,
)
from patchwise.augment.photometric import Photometric, apply_photometric, sample_photometric
from patchwise.checks import check_positive
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.configs.views import MultiCropConfig, PatchColourConfig, ViewsConfig, nearest_side
from patchwise.errors import RangeError, ShapeError
from patchwise.normalisation import normalise
from patchwise.types import ImageBatch

GLOBAL_VIEWS = 2


@dataclass(frozen=True)
class MultiCropViews:
    """Views of a batch: first the two global ones, then the local ones.

    Letters: B images, V views of a resolution, S their side.
    """

    pixels: tuple[Float[Tensor, "_ 3 _ _"], ...]  # a resolution each [VB, 3, S, S], view-major
    crops: tuple[Crops, ...]  # a view each, on the CPU
    grids: tuple[tuple[int, int], ...]  # a view each: rows and columns of patches
    keys: tuple[DrawKey, ...]  # a view each: name the draws of what else is random about it
    num_images: int


@dataclass(frozen=True)
class ViewGroup:
    """Views of one resolution."""

    views: range
    size_px: int
    area_frac: tuple[float, float]
    kinds: tuple[int, ...]  # for each view, its place in the config's triples of chances


@torch.no_grad()
def make_multicrop(
    batch: ImageBatch,
    views: ViewsConfig,
    *,
    patch_colour: PatchColourConfig | None,
    patch_px: int,
    seed: int,
    normalisation: Normalisation = IMAGENET,
) -> MultiCropViews:
    """Make the global and local views of each image.

    1. Crop, resize and flip.   2. Colour changes of the whole view.
    3. Colour changes of each patch on its own, if wanted.   4. Normalise.

    Args:
        batch: Images; the views are made on the device of its pixels.
        views: What to draw.
        patch_colour: How patches are recoloured; None leaves them alone.
        patch_px: Side of a patch; the views' sides are multiples of it.
        seed: Of the run. With it, ``batch.epoch``, an image's id and the number of the view,
            everything about that view is determined, whatever else is in the batch (with
            ``views.shared_geometry``: the id of the batch's first image).
        normalisation: Of the backbone that is trained.

    Returns:
        float32 views, globals first; without local views there is one resolution.

    Raises:
        RangeError: a view's side is no multiple of ``patch_px``.
        ShapeError: geometry is to be shared by images of several sizes.

    Source: Caron et al. 2021, "DINO", arXiv:2104.14294; step 3: Javidani et al. 2024, "PW-Self",
    arXiv:2310.18651.
    Differs: drawn for each image; PW-Self's authors draw once for a batch, which is
    ``views.shared_geometry`` (patch colours are drawn for each image even then).
    """
    check_positive("make_multicrop", patch_px=patch_px)
    ids = own_ids = batch.ids.cpu().numpy()
    if views.shared_geometry:
        _check_one_size(batch)
        ids = np.full_like(ids, ids[0])

    pixels: list[Tensor] = []
    crops: list[Crops] = []
    grids: list[tuple[int, int]] = []
    keys: list[DrawKey] = []
    for group in view_groups(views):
        side = patches_per_side("make_multicrop", group, patch_px)
        drawn = [DrawKey(seed, batch.epoch, ids, view) for view in group.views]
        own = [dataclasses.replace(key, ids=own_ids) for key in drawn]
        boxes = [
            sample_crops(
                batch.sizes,
                key,
                area_frac=group.area_frac,
                aspect=views.aspect,
                flip_prob=views.flip_prob,
            )
            for key in drawn
        ]
        colours = _sample_colours(group, views, drawn)
        # Under autocast the resampling products would be made in half precision.
        with torch.autocast(batch.pixels.device.type, enabled=False):
            images = apply_crops(
                batch.pixels, batch.sizes, Crops.concatenate(boxes), size_px=group.size_px
            )
            images = apply_photometric(images, colours)
            if patch_colour is not None:
                images = recolour_patches(images, own, patch_colour, patch_px)
            pixels.append(normalise(images, normalisation))
        crops += boxes
        grids += [(side, side)] * len(boxes)
        keys += own
    return MultiCropViews(tuple(pixels), tuple(crops), tuple(grids), tuple(keys), len(batch))


def view_groups(views: MultiCropConfig) -> list[ViewGroup]:
    """Return the global views, then the local ones if there are any."""
    last = GLOBAL_VIEWS + views.local_count
    globals_ = ViewGroup(range(GLOBAL_VIEWS), views.global_px, views.global_area_frac, (0, 1))
    locals_ = ViewGroup(
        range(GLOBAL_VIEWS, last), views.local_px, views.local_area_frac, (2,) * views.local_count
    )
    return [group for group in (globals_, locals_) if group.views]


def _sample_colours(group: ViewGroup, views: ViewsConfig, keys: Sequence[DrawKey]) -> Photometric:
    return Photometric.concatenate(
        [
            sample_photometric(
                key,
                views,
                blur_prob=views.blur_probs[kind],
                solarise_prob=views.solarise_probs[kind],
            )
            for key, kind in zip(keys, group.kinds, strict=True)
        ]
    )


def recolour_patches(
    images: Float[Tensor, "B 3 S S"],
    keys: Sequence[DrawKey],
    config: PatchColourConfig,
    patch_px: int,
) -> Float[Tensor, "B 3 S S"]:
    """Change the colours of every patch of some views on its own.

    Args:
        images: Views in [0, 1], one after the other.
        keys: Of the views, in this order.
        config: What to draw.
        patch_px: Side of a patch.
    """
    count = (images.shape[-1] // patch_px) ** 2
    drawn = [sample_patch_photometric(key, count, config) for key in keys]
    return apply_patch_photometric(images, PatchPhotometric.concatenate(drawn), patch_px)


def patches_per_side(caller: str, group: ViewGroup, patch_px: int) -> int:
    """Return how many patches a view is wide; `RangeError` unless they are whole ones."""
    if group.size_px % patch_px:
        kind = "global_px" if group.views.start == 0 else "local_px"
        nearest = nearest_side(group.size_px, patch_px)
        raise RangeError(
            f"{caller}: {kind} must be a multiple of the patch side {patch_px}, "
            f"got {group.size_px}; use {nearest}"
        )
    return group.size_px // patch_px


def _check_one_size(batch: ImageBatch) -> None:
    other = (batch.sizes != batch.sizes[:1]).any(dim=1)
    if other.any():
        raise ShapeError(
            f"make_multicrop: images must be of one size with shared_geometry, got "
            f"{batch.sizes[0].tolist()} and {batch.sizes[other][0].tolist()}; use base='square'"
        )
