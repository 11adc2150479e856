"""What training is shown: the views of an image, and which of their patches are matched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.augment.crop import Crops, patch_centres
from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews, make_multicrop
from patchwise.configs.methods import Matching, MethodConfig, PWSelfConfig
from patchwise.configs.normalisation import IMAGENET
from patchwise.ops.geometry import MATCHERS, match_distance
from patchwise.pictures.colours import PALETTE
from patchwise.pictures.drawing import Pixels, fit, frame, resize, tag, veil
from patchwise.pictures.figure import Figure, Row, Tile
from patchwise.types import ImageBatch

_SIDE_PX = 360
_TAG_PX = 40
_NUMBERED = 9  # matches of a pair of views that are numbered
_RULES = {
    "thinned": "in whole patches",
    "nearest": "each of the student's patches with the teacher's that its centre lies in",
}


def view_figures(
    batch: ImageBatch,
    names: Sequence[str],
    method: MethodConfig,
    *,
    patch_px: int,
    seed: int,
    most_local: int,
) -> list[Figure]:
    """Return what a run with these settings makes of these images: views, then matches.

    Args:
        batch: Images, resized as the run resizes them.
        names: Of the images.
        method: Settings of the run.
        patch_px: Side of a patch; divides the sides of the views.
        seed: Of the run.
        most_local: Local views that are shown at most, for each image.
    """
    views = training_views(batch, method, patch_px=patch_px, seed=seed)
    figures, plain = [], None
    if isinstance(method, PWSelfConfig) and method.recolour_patches:
        plain = training_views(batch, method, patch_px=patch_px, seed=seed, recoloured=False)
    figures.append(views_figure(batch, names, views, plain, most_local=most_local))
    if isinstance(method, PWSelfConfig) and method.matching != "none":
        figures.append(matches_figure(batch, names, views, method.matching))
    return figures


def training_views(
    batch: ImageBatch, method: MethodConfig, *, patch_px: int, seed: int, recoloured: bool = True
) -> MultiCropViews:
    """Return the views that a run with these settings makes of these images.

    Args:
        batch: Images, resized as the run resizes them.
        method: Settings of the run.
        patch_px: Side of a patch.
        seed: Of the run.
        recoloured: Whether patches are recoloured if the method does that.
    """
    colour = None
    if recoloured and isinstance(method, PWSelfConfig) and method.recolour_patches:
        colour = method.patch_colour
    return make_multicrop(batch, method.views, patch_colour=colour, patch_px=patch_px, seed=seed)


def view_name(view: int) -> str:
    """Return what a view is called: "global 1", "local 3"."""
    number, kind = (view, "global") if view < GLOBAL_VIEWS else (view - GLOBAL_VIEWS, "local")
    return f"{kind} {number + 1}"


def view_pixels(views: MultiCropViews, view: int, image: int) -> Pixels:
    """Return one view of one image as the backbone is fed it, as bytes."""
    first = 0
    for pixels in views.pixels:
        count = len(pixels) // views.num_images
        if view < first + count:
            one = pixels[(view - first) * views.num_images + image].movedim(0, -1).cpu()
            values = one * torch.tensor(IMAGENET.std) + torch.tensor(IMAGENET.mean)
            result: Pixels = (values * 255).round().clamp(0, 255).to(torch.uint8).numpy()
            return result
        first += count
    raise AssertionError(f"there is no view {view}")


def views_figure(
    batch: ImageBatch,
    names: Sequence[str],
    views: MultiCropViews,
    plain: MultiCropViews | None,
    *,
    most_local: int,
) -> Figure:
    """Show all views of each image and where in it they lie.

    Args:
        batch: The images.
        names: Of the images.
        views: As training sees them.
        plain: The same without colour changes of single patches; None: there are none.
        most_local: Local views that are shown at most, for each image.
    """
    shown = range(min(len(views.crops), GLOBAL_VIEWS + most_local))
    rows = []
    for image, name in enumerate(names):
        boxes = _boxes_tile(batch, image, name, views.crops)
        kinds = {name: (plain or views, "after cropping, mirroring and colour changes")}
        if plain is not None:
            kinds[f"{name}, every patch recoloured"] = (views, "with every patch recoloured")
        for label, (kind, what) in kinds.items():
            tiles = [_view_tile(kind, view, image, f"of {name} {what}") for view in shown]
            rows.append(Row(label, (boxes, *tiles)))
    caption = (
        "The image with the boxes of its views, and the views. The model must give the same "
        "answer for all of them: what differs between views it learns to ignore, what they share "
        "it must use."
    )
    recoloured = "no patch is recoloured on its own" if plain is None else (
        "then again with every patch recoloured on its own, which is what training sees"
    )  # fmt: skip
    left_out = len(views.crops) - len(shown)
    more = f" Of {left_out} more local views only the boxes are shown." if left_out else ""
    facts = (
        f"Each view is shown after cropping, mirroring and colour changes of the whole; "
        f"{recoloured}.{more} These are the draws of the first epoch with the settings and the "
        f"seed given. g: global view, l: local view."
    )
    return Figure("views", "Views of an image", caption, facts, tuple(rows), wide=True)


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
        pixels = _on_grid(view_pixels(views, view, image), grid)
        pixels = veil(pixels, kept.reshape(grid))
        cell = len(pixels) / grid[0]
        for number, patch in enumerate(index[chosen].tolist()):
            at = ((patch // grid[1] + 0.5) * cell, (patch % grid[1] + 0.5) * cell)
            pixels = _number(pixels, number, at, round(min(_TAG_PX, 0.9 * cell + 8)))
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


def _original(batch: ImageBatch, image: int) -> tuple[Pixels, float]:
    height, width = batch.sizes[image].tolist()
    pixels: Pixels = batch.pixels[image, :, :height, :width].movedim(0, -1).cpu().numpy()
    return fit(np.ascontiguousarray(pixels), _SIDE_PX)


def _boxes_tile(batch: ImageBatch, image: int, name: str, crops: Sequence[Crops]) -> Tile:
    pixels, factor = _original(batch, image)
    boxes = [[factor * side for side in crop.boxes[image].tolist()] for crop in crops]
    for view, (top, left, height, width) in enumerate(boxes):
        pixels = frame(pixels, (top, left, height, width), _colour(view))
    for view, (top, left, _, _) in enumerate(boxes):
        at = (top + 0.6 * _TAG_PX, left + 0.9 * _TAG_PX)
        pixels = tag(pixels, at, _short(view), _colour(view), round(0.8 * _TAG_PX))
    return Tile(pixels, "image", f"The image {name} with the boxes of its {len(boxes)} views.")


def _places_tile(
    batch: ImageBatch, image: int, name: str, pair: _Pair, chosen: Int[Tensor, " m"]
) -> Tile:
    pixels, factor = _original(batch, image)
    for view, crop in zip(pair.views, pair.crops, strict=True):
        top, left, height, width = (factor * side for side in crop.boxes[0].tolist())
        pixels = frame(pixels, (top, left, height, width), _colour(view))
    for number, (y, x) in enumerate((factor * pair.centres[chosen]).tolist()):
        pixels = _number(pixels, number, (y, x), round(0.8 * _TAG_PX))
    alt = f"The image {name} with both boxes and the places of the numbered patches."
    return Tile(pixels, "image", alt)


def _view_tile(views: MultiCropViews, view: int, image: int, what: str) -> Tile:
    """Return a view with its short name, in its colour, in the corner."""
    pixels = _on_grid(view_pixels(views, view, image), views.grids[view])
    at = (0.6 * _TAG_PX, 0.9 * _TAG_PX)
    pixels = tag(pixels, at, _short(view), _colour(view), round(0.8 * _TAG_PX))
    return Tile(pixels, view_name(view), f"The {view_name(view)} view {what}.")


def _number(pixels: Pixels, number: int, at: tuple[float, float], size_px: int) -> Pixels:
    return tag(pixels, at, str(number + 1), PALETTE[number % len(PALETTE)], size_px)


def _on_grid(pixels: Pixels, grid: tuple[int, int]) -> Pixels:
    """Return a view in about the size of the other tiles, its sides multiples of its grid."""
    height, width = (round(_SIDE_PX / max(grid)) * patches for patches in grid)
    return resize(pixels, height, width)


def _colour(view: int) -> str:
    return PALETTE[1 + view % (len(PALETTE) - 1)]  # grey would be lost in an image


def _short(view: int) -> str:
    return f"g{view + 1}" if view < GLOBAL_VIEWS else f"l{view - GLOBAL_VIEWS + 1}"
