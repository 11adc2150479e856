"""The most similar patches of other images, before and after."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.pictures.colours import MARK, RIGHT, WRONG
from patchwise.pictures.drawing import Pixels, cut, frame, resize
from patchwise.pictures.figure import Figure, Row, Swatch, Tile
from patchwise.pictures.gallery import Gallery, Seen
from patchwise.randomness import random_order

_K = 5
_CONTEXT = 5  # patches high and wide that are shown round a neighbour
_SIDE_PX = 160


@dataclass(frozen=True)
class Neighbours:
    """The nearest patches of Q queries, at most one of each image, the nearest first."""

    image: Int[Tensor, "Q k"]
    patch: Int[Tensor, "Q k"]
    cosine: Float[Tensor, "Q k"]


def nearest_patches(
    patches: Float[Tensor, "B N D"],
    query_image: Int[Tensor, " Q"],
    query_patch: Int[Tensor, " Q"],
    *,
    k: int,
) -> Neighbours:
    """Find for each query the patch of highest cosine in every other image; keep the best k.

    Args:
        patches: Features of all images.
        query_image: Image of each query.
        query_patch: Patch of each query within its image.
        k: How many; at most the number of other images.
    """
    unit = F.normalize(patches, dim=-1)
    query = unit[query_image, query_patch]  # [Q, D]
    best = torch.empty(len(query), len(unit))
    where = torch.empty(len(query), len(unit), dtype=torch.int64)
    for number, own in enumerate(unit):  # the table of all cosines would not fit
        best[:, number], where[:, number] = (query @ own.T).max(dim=1)
    best[torch.arange(len(query)), query_image] = -torch.inf
    cosine, image = best.topk(min(k, len(unit) - 1), dim=1)
    return Neighbours(image, where.gather(1, image), cosine)


def nearest_figure(gallery: Gallery, before: Seen, after: Seen, *, seed: int) -> Figure:
    """Show one patch of each shown image with its nearest patches, before above after."""
    image = torch.arange(gallery.shown)
    patch = _choose_patches(gallery, after.grid, seed)
    found = {
        "before": nearest_patches(before.patches, image, patch, k=_K),
        "after": nearest_patches(after.patches, image, patch, k=_K),
    }
    rows = []
    for q in range(gallery.shown):
        for state, neighbours in found.items():
            tiles = [_query_tile(gallery, q, int(patch[q]), after.grid)]
            for place in range(neighbours.image.shape[1]):
                tiles.append(_tile(gallery, neighbours, (q, place), int(patch[q]), after.grid))
            rows.append(Row(f"{gallery.names[q]}, {state}", tuple(tiles)))
    known = gallery.categories is not None
    swatches: tuple[Swatch, ...] = (Swatch(MARK, "the query, whose nearest are sought"),)
    if known:
        swatches += (Swatch(RIGHT, "✓ same category"), Swatch(WRONG, "✗ another one, or none"))
    else:
        swatches += (Swatch(RIGHT, "a patch that was found"),)
    caption = (
        f"An image with one patch marked, and the most similar patches of other images. Good "
        f"features find the same part of the same kind of thing in other light and other colours; "
        f"poor ones find the same colour or the same place.{_shares(gallery, before, after)}"
    )
    facts = (
        f"Below each patch is the cosine of the two features. Compare cosines within a row only: "
        f"a high one means little where all are high. At most one patch of each of "
        f"{len(gallery.images)} images, each with {_CONTEXT} x {_CONTEXT} patches round it. "
        f"Images: {gallery.origin}; the marked patches were drawn by seed from the middle of "
        f"{'an object' if known else 'the images'}."
    )
    title = "Nearest patches in other images"
    return Figure("nearest", title, caption, facts, tuple(rows), swatches)


def right_share(
    patches: Float[Tensor, "B N D"], categories: Int[Tensor, "B N"], *, k: int = _K
) -> float:
    """Return the share of the k nearest patches that are of the query's category.

    Every patch that has a category is a query; all patches of the other images are searched.
    """
    query_image, query_patch = categories.nonzero(as_tuple=True)
    found = nearest_patches(patches, query_image, query_patch, k=k)
    truth = categories[query_image, query_patch][:, None]
    return float((categories[found.image, found.patch] == truth).float().mean())


def _shares(gallery: Gallery, before: Seen, after: Seen) -> str:
    if gallery.categories is None or not gallery.categories.any():
        return ""
    first = right_share(before.patches, gallery.categories)
    second = right_share(after.patches, gallery.categories)
    queries = int((gallery.categories > 0).sum())
    return (
        f" The true categories are known here: of the {_K} nearest of all {queries} patches that "
        f"show an object, {first:.0%} are right before and {second:.0%} after."
    )


def _choose_patches(gallery: Gallery, grid: tuple[int, int], seed: int) -> Int[Tensor, " Q"]:
    """Draw a patch of each shown image: of the middle of an object, or of the image."""
    middle = torch.zeros(grid)
    middle[grid[0] // 4 : -(-3 * grid[0] // 4), grid[1] // 4 : -(-3 * grid[1] // 4)] = 1
    chosen = []
    for i in range(gallery.shown):
        order = torch.from_numpy(random_order(grid[0] * grid[1], seed, i))
        depth = middle.flatten()
        if gallery.categories is not None and gallery.categories[i].any():
            depth = _depth(gallery.categories[i].view(grid))
        chosen.append(int(order[depth[order].argmax()]))
    return torch.tensor(chosen)


def _depth(categories: Int[Tensor, "rows columns"]) -> Float[Tensor, " N"]:
    """Return how many of the patches round each are of its category; 0 where it has none."""
    one_hot = F.one_hot(categories).movedim(-1, 0).float()  # [K + 1, rows, columns]
    alike = 9 * F.avg_pool2d(one_hot[None], 3, stride=1, padding=1)[0]
    depth = (alike * one_hot)[1:].sum(dim=0)
    return depth.flatten()


def _query_tile(gallery: Gallery, image: int, patch: int, grid: tuple[int, int]) -> Tile:
    pixels = resize(gallery.images[image], _SIDE_PX, _SIDE_PX)
    pixels = frame(pixels, _box(patch, grid, (0, 0), _SIDE_PX / grid[0]), MARK, width_px=4)
    row, column = divmod(patch, grid[1])
    name = gallery.names[image]
    alt = f"The image {name} with the patch in row {row + 1}, column {column + 1} marked."
    return Tile(pixels, "query", alt)


def _tile(
    gallery: Gallery, found: Neighbours, at: tuple[int, int], patch: int, grid: tuple[int, int]
) -> Tile:
    """Return the neighbour in place ``at`` (query, rank) of the query's ``patch``."""
    image, near, cosine = int(found.image[at]), int(found.patch[at]), float(found.cosine[at])
    colour, sign, word = RIGHT, "", ""
    if gallery.categories is not None:
        wanted = gallery.categories[at[0], patch]
        right = bool(wanted > 0) and bool(gallery.categories[image, near] == wanted)
        colour, sign = (RIGHT, " ✓") if right else (WRONG, " ✗")
        word = ", of the same category" if right else ", not of the same category"
    alt = f"A patch of {gallery.names[image]}, cosine {cosine:.2f}{word}."
    return Tile(_context(gallery.images[image], near, grid, colour), f"{cosine:.2f}{sign}", alt)


def _context(image: Pixels, patch: int, grid: tuple[int, int], colour: str) -> Pixels:
    """Cut out a patch with those round it, shifted where the image ends; frame the patch."""
    patch_px = len(image) // grid[0]
    side = min(_CONTEXT, *grid)
    first = [
        min(max(at - side // 2, 0), length - side)
        for at, length in zip(divmod(patch, grid[1]), grid, strict=True)
    ]
    box = (first[0] * patch_px, first[1] * patch_px, side * patch_px, side * patch_px)
    pixels = resize(cut(image, box), _SIDE_PX, _SIDE_PX)
    return frame(
        pixels, _box(patch, grid, (first[0], first[1]), _SIDE_PX / side), colour, width_px=5
    )


def _box(
    patch: int, grid: tuple[int, int], first: tuple[int, int], cell_px: float
) -> tuple[float, float, float, float]:
    row, column = divmod(patch, grid[1])
    return (row - first[0]) * cell_px, (column - first[1]) * cell_px, cell_px, cell_px
