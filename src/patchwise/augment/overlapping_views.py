"""The views of a step whose crops overlap: the teacher's uncoloured, the student's recoloured."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.augment.crop import Crops, apply_crops
from patchwise.augment.draw import DrawKey
from patchwise.augment.multicrop import (
    GLOBAL_VIEWS,
    MultiCropViews,
    ViewGroup,
    patches_per_side,
    recolour_patches,
    view_groups,
)
from patchwise.augment.overlapping_crops import sample_overlapping_crops
from patchwise.augment.photometric import Photometric, apply_photometric, sample_photometric
from patchwise.checks import check_positive, check_shape
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.configs.views import OverlappingViewsConfig
from patchwise.normalisation import normalise
from patchwise.types import ImageBatch

BESIDE_NONE = -1


@dataclass(frozen=True)
class OverlappingViews:
    """Views of a batch, B images: what the teacher sees of them, and what the student."""

    teacher: Float[Tensor, "VB 3 S S"]  # the student's global views without colour changes
    student: MultiCropViews  # first the two global views, then the local ones; none is mirrored


@torch.no_grad()
def make_overlapping_views(
    batch: ImageBatch,
    views: OverlappingViewsConfig,
    *,
    patch_px: int,
    seed: int,
    beside: Int[Tensor, " B"] | None = None,
    normalisation: Normalisation = IMAGENET,
) -> OverlappingViews:
    """Make the views of each image: global ones that overlap, local ones that overlap both.

    1. Crop and resize. The second global crop is drawn until it shares enough with the first,
       each local crop until it shares enough with both.   2. Normalise: the teacher's.
    3. Colour changes of each view, and of each of its patches if ``views.recolour_patches``;
       normalise: the student's.

    Args:
        batch: Images; the views are made on the device of its pixels.
        views: What to draw.
        patch_px: Side of a patch; the views' sides are multiples of it. See
            `patchwise.configs.views.fit_to_patches`.
        seed: Of the run. With it, ``batch.epoch``, an image's id, ``beside`` and the number of the
            view, everything about that view is determined, whatever else is in the batch. Images
            of two sets have ids of their own: give each set a seed of its own.
        beside: For neighbours, the id of the image whose neighbour each one is, and `BESIDE_NONE`
            for what is nobody's neighbour. The same image beside others has other views.
        normalisation: Of the backbone that is to see them.

    Returns:
        float32 views. Pixels of ``teacher`` and those of the student's global views show the same
        crops.

    Raises:
        RangeError: A view's side is no multiple of ``patch_px``.
        ShapeError: ``beside`` has not one id for each image.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429, and its published settings.
    Differs: colours are drawn for each image; the authors draw once for a batch. Crops are drawn a
    bounded number of times, see `patchwise.augment.overlapping_crops`.
    """
    name = "make_overlapping_views"
    check_positive(name, patch_px=patch_px)
    if beside is not None:
        check_shape(name, (len(batch),), beside=beside)
    ids, others = batch.ids.cpu().numpy(), None if beside is None else beside.cpu().numpy()
    pixels: list[Tensor] = []
    crops: list[Crops] = []
    grids: list[tuple[int, int]] = []
    keys: list[DrawKey] = []
    plain: list[Tensor] = []
    for group in view_groups(views):
        side = patches_per_side(name, group, patch_px)
        drawn = [DrawKey(seed, batch.epoch, ids, view, others) for view in group.views]
        boxes = _sample_crops(batch.sizes, drawn, group, views, crops)
        # Under autocast the resampling products would be made in half precision.
        with torch.autocast(batch.pixels.device.type, enabled=False):
            images = apply_crops(
                batch.pixels, batch.sizes, Crops.concatenate(boxes), size_px=group.size_px
            )
            if not plain:
                plain.append(normalise(images, normalisation))
            coloured = apply_photometric(images, _sample_colours(drawn, views))
            if views.recolour_patches:
                coloured = recolour_patches(coloured, drawn, views.patch_colour, patch_px)
            pixels.append(normalise(coloured, normalisation))
        crops += boxes
        grids += [(side, side)] * len(boxes)
        keys += drawn
    student = MultiCropViews(tuple(pixels), tuple(crops), tuple(grids), tuple(keys), len(batch))
    return OverlappingViews(plain[0], student)


def _sample_crops(
    sizes: Int[Tensor, "B 2"],
    keys: Sequence[DrawKey],
    group: ViewGroup,
    views: OverlappingViewsConfig,
    earlier: Sequence[Crops],
) -> list[Crops]:
    """Draw the crops of a resolution, each overlapping all global crops drawn before it."""
    crops: list[Crops] = []
    is_global = group.views.start < GLOBAL_VIEWS
    for key in keys:
        drawn = sample_overlapping_crops(
            sizes,
            key,
            crops if is_global else earlier,
            overlap_frac=views.global_overlap_frac if is_global else views.local_overlap_frac,
            area_frac=group.area_frac,
            aspect=views.aspect,
        )
        crops.append(drawn)
    return crops


def _sample_colours(keys: Sequence[DrawKey], views: OverlappingViewsConfig) -> Photometric:
    return Photometric.concatenate(
        [
            sample_photometric(
                key,
                views,
                blur_prob=views.blur_prob,
                solarise_prob=0.0,
                blur_radius_px=views.blur_window_px // 2,
            )
            for key in keys
        ]
    )
