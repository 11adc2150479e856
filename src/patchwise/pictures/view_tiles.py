"""Single views of an image as tiles, and where in the image they lie."""

from collections.abc import Sequence

import numpy as np
import torch

from patchwise.augment.crop import Crops
from patchwise.augment.multicrop import GLOBAL_VIEWS, MultiCropViews
from patchwise.configs.normalisation import IMAGENET
from patchwise.pictures.colours import PALETTE
from patchwise.pictures.drawing import Pixels, fit, frame, resize, tag
from patchwise.pictures.figure import Tile
from patchwise.types import ImageBatch

SIDE_PX = 360  # of a tile
TAG_PX = 40


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


def original(batch: ImageBatch, image: int) -> tuple[Pixels, float]:
    """Return an image of a batch in the size of a tile, and the factor that took."""
    height, width = batch.sizes[image].tolist()
    pixels: Pixels = batch.pixels[image, :, :height, :width].movedim(0, -1).cpu().numpy()
    return fit(np.ascontiguousarray(pixels), SIDE_PX)


def boxes_tile(batch: ImageBatch, image: int, name: str, crops: Sequence[Crops]) -> Tile:
    """Return an image with the boxes of its views."""
    pixels, factor = original(batch, image)
    boxes = [[factor * side for side in crop.boxes[image].tolist()] for crop in crops]
    for view, (top, left, height, width) in enumerate(boxes):
        pixels = frame(pixels, (top, left, height, width), view_colour(view))
    for view, (top, left, _, _) in enumerate(boxes):
        at = (top + 0.6 * TAG_PX, left + 0.9 * TAG_PX)
        pixels = tag(pixels, at, _short(view), view_colour(view), round(0.8 * TAG_PX))
    return Tile(pixels, "image", f"The image {name} with the boxes of its {len(boxes)} views.")


def view_tile(views: MultiCropViews, view: int, image: int, what: str) -> Tile:
    """Return a view with its short name, in its colour, in the corner."""
    pixels = on_grid(view_pixels(views, view, image), views.grids[view])
    at = (0.6 * TAG_PX, 0.9 * TAG_PX)
    pixels = tag(pixels, at, _short(view), view_colour(view), round(0.8 * TAG_PX))
    return Tile(pixels, view_name(view), f"The {view_name(view)} view {what}.")


def on_grid(pixels: Pixels, grid: tuple[int, int]) -> Pixels:
    """Return a view in about the size of the other tiles, its sides multiples of its grid."""
    height, width = (round(SIDE_PX / max(grid)) * patches for patches in grid)
    return resize(pixels, height, width)


def view_colour(view: int) -> str:
    """Return the colour of a view."""
    return PALETTE[1 + view % (len(PALETTE) - 1)]  # grey would be lost in an image


def _short(view: int) -> str:
    return f"g{view + 1}" if view < GLOBAL_VIEWS else f"l{view - GLOBAL_VIEWS + 1}"
