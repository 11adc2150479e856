"""Which patches of two views are matched: equal numbers show the same place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.augment.crop import Crops, patch_centres
from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews
from patchwise.configs.methods import Matching
from patchwise.ops.geometry import MATCHERS, match_distance
from patchwise.pictures.colours import PALETTE
from patchwise.pictures.drawing import Pixels, frame, tag, veil
from patchwise.pictures.figure import Figure, Row, Tile
from patchwise.pictures.view_tiles import (
    TAG_PX,
    on_grid,
    original,
    view_colour,
    view_name,
    view_pixels,
)
from patchwise.types import ImageBatch

_NUMBERED = 9  # matches of a pair of views that are numbered
_RULES = {
    "thinned": "in whole patches",
    "nearest": "each of the student's patches with the teacher's that its centre lies in",
}


def matches_figure(
    batch: ImageBatch, names: Sequence[str], views: MultiCropViews, matching: Matching
) -> Figure:
    """Show which patches of two views are matched.

    The teacher's first global view is paired with the second one, and with a local view.
    """
    others = [view for view in (1, GLOBAL_VIEWS) if view < len(views.crops)]
    rows, counts, misses = [], [], []
    for image, name in enumerate(names):
        for other in others:
            pair = _pair_of_views(views, image, other, matching)
            rows.append(_match_row(batch, views, image, name, pair))
            counts.append(f"{len(pair.centres)} of {math.prod(views.grids[other])}")
            misses.append(pair.miss)
    miss = torch.cat(misses)
    apart = (
        f"{float(miss.mean()):.2f} of the width of a teacher's patch apart on average, at most "
        f"{float(miss.max()):.2f}"
        if len(miss)
        else "not defined here, where nothing is matched"
    )
    caption = (
        "Equal numbers show the same place: in the image, in the teacher's view and in the "
        "student's. The student's patch must predict what the teacher makes of its partner, "
        "although colour, size and surroundings differ. If a number stood on different things, "
        "training would be taught wrong."
    )
    facts = (
        f"Dark patches have no partner: they lie outside the other view, or are left over where a "
        f"view has more patches on the common part than the other. Pairs come from the boxes "
        f"alone, {_RULES[matching]}: centres of partners are {apart}. At most {_NUMBERED} pairs of "
        f"a row are numbered; matched in all, row by row: {', '.join(counts)} patches of the "
        f"student's view. These are the draws of the first epoch with the settings and the seed "
        f"given."
    )
    return Figure("matches", "Matched patches", caption, facts, tuple(rows), wide=True)


@dataclass(frozen=True)
class _Pair:
    """The matches of two views of one image."""

    views: tuple[int, int]
    crops: tuple[Crops, Crops]  # of this image alone
    patches: tuple[Int[Tensor, " M"], Int[Tensor, " M"]]  # in each view, from 0
    centres: Float[Tensor, "M 2"]  # of the first view's patches, in the image
    miss: Float[Tensor, " M"]  # distance of the partners' centres, in sides of the first's patch


def _pair_of_views(views: MultiCropViews, image: int, other: int, matching: Matching) -> _Pair:
    """Match the first view with another one, as training does."""
    a, b = _one(views.crops[0], image), _one(views.crops[other], image)
    grids = views.grids[0], views.grids[other]
    found = MATCHERS[matching](a.boxes, a.flip, grids[0], b.boxes, b.flip, grids[1])
    valid = found.valid[0]
    patches = found.index_a[0, valid] - 1, found.index_b[0, valid] - 1
    centres = patch_centres(a, grids[0])[0].flatten(0, 1)[patches[0]]
    miss = match_distance(found, (a.boxes, b.boxes), (a.flip, b.flip), grids)[0, valid]
    return _Pair((0, other), (a, b), patches, centres, miss.amax(dim=1))


def _match_row(batch: ImageBatch, views: MultiCropViews, image: int, name: str, pair: _Pair) -> Row:
    """Return the image and both views, with some pairs numbered."""
    chosen = spread(pair.centres, _NUMBERED)
    tiles = [_places_tile(batch, image, name, pair, chosen)]
    for view, index in zip(pair.views, pair.patches, strict=True):
        grid = views.grids[view]
        kept = np.zeros(grid[0] * grid[1], dtype=np.bool_)
        kept[index.numpy()] = True
        pixels = on_grid(view_pixels(views, view, image), grid)
        pixels = veil(pixels, kept.reshape(grid))
        cell = len(pixels) / grid[0]
        for number, patch in enumerate(index[chosen].tolist()):
            at = ((patch // grid[1] + 0.5) * cell, (patch % grid[1] + 0.5) * cell)
            pixels = _number(pixels, number, at, round(min(TAG_PX, 0.9 * cell + 8)))
        role = "teacher" if view == 0 else "student"
        alt = f"{view_name(view)} view of {name}: {len(index)} matched patches, some numbered."
        tiles.append(Tile(pixels, f"{view_name(view)} ({role})", alt))
    return Row(f"{name}: global 1 and {view_name(pair.views[1])}", tuple(tiles))


def spread(points: Float[Tensor, "M 2"], count: int) -> Int[Tensor, " m"]:
    """Return up to ``count`` points far from each other, no place twice, in reading order."""
    chosen: list[int] = []
    distance = torch.full((len(points),), torch.inf)
    while len(chosen) < count and (distance > 0).any():
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(dim=1))
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def _one(crops: Crops, image: int) -> Crops:
    return Crops(crops.boxes[image : image + 1], crops.flip[image : image + 1])


def _places_tile(
    batch: ImageBatch, image: int, name: str, pair: _Pair, chosen: Int[Tensor, " m"]
) -> Tile:
    pixels, factor = original(batch, image)
    for view, crop in zip(pair.views, pair.crops, strict=True):
        top, left, height, width = (factor * side for side in crop.boxes[0].tolist())
        pixels = frame(pixels, (top, left, height, width), view_colour(view))
    for number, (y, x) in enumerate((factor * pair.centres[chosen]).tolist()):
        pixels = _number(pixels, number, (y, x), round(0.8 * TAG_PX))
    alt = f"The image {name} with both boxes and the places of the numbered patches."
    return Tile(pixels, "image", alt)


def _number(pixels: Pixels, number: int, at: tuple[float, float], size_px: int) -> Pixels:
    return tag(pixels, at, str(number + 1), PALETTE[number % len(PALETTE)], size_px)
