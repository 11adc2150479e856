"""Places of an image beside the best-matching places of its neighbour, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.ops.foreground import foreground_mask
from patchwise.pictures.colours import PALETTE
from patchwise.pictures.drawing import Pixels, resize, tag
from patchwise.pictures.figure import Figure, Row, Tile
from patchwise.pictures.gallery import Gallery, Seen
from patchwise.randomness import random_order

_PLACES = 6  # that are marked in an image
_SIDE_PX, _TAG_PX = 360, 32
_DRAW = 104  # key of the draw of places


@dataclass(frozen=True)
class Found:
    """For each place of an image the patch of its neighbour that is most like it."""

    patch: Int[Tensor, "P N"]
    cosine: Float[Tensor, "P N"]
    overall: float  # mean cosine of all pairs of patches of image and neighbour


def best_matches(patches: Float[Tensor, "two_P N D"]) -> Found:
    """Find for each patch of the first P images the one of highest cosine in its neighbour.

    Args:
        patches: Features of P images, then of the neighbour of each.
    """
    images, neighbours = F.normalize(patches, dim=-1).chunk(2)
    best, where, total = [], [], 0.0
    for image, neighbour in zip(images, neighbours, strict=True):  # one table of cosines at a time
        table = image @ neighbour.T
        cosine, patch = table.max(dim=1)
        best.append(cosine)
        where.append(patch)
        total += float(table.mean())
    return Found(torch.stack(where), torch.stack(best), total / len(images))


def correspondences_figure(
    gallery: Gallery, before: Seen, after: Seen, *, how: str, seed: int
) -> Figure:
    """Show places of images with the places of their neighbours that match them best.

    Args:
        gallery: P images, then the neighbour of each; the first ``shown`` pairs are shown.
        before: What the weights see that training began with, which the teacher begins with too.
        after: What the student sees.
        how: A sentence that says which images are neighbours.
        seed: Of the draw of places.
    """
    foreground = foreground_mask(before.attention, before.grid)[: len(gallery.images) // 2]
    found = {"before": best_matches(before.patches), "after": best_matches(after.patches)}
    rows = []
    for pair in range(gallery.shown):
        places = choose_places(foreground[pair], before.grid, seed=seed, pair=pair)
        rows.append(_row(gallery, pair, places, found, before.grid))
    numbers = [
        f"{float(f.cosine[foreground].mean()):.2f} {state}, where that of any two patches is "
        f"{f.overall:.2f}"
        for state, f in found.items()
    ]
    same = (found["before"].patch == found["after"].patch)[foreground]
    caption = (
        f"An image with numbered places, and its neighbour with the same numbers where it matches "
        f"them best, before and after training. Good numbers stand on the same part of the same "
        f"kind of thing in both images; numbers that gather in one place, or keep their place in "
        f"the image whatever is there, have found nothing. The mean cosine of best matches is "
        f"{numbers[0]}, and {numbers[1]}. {float(same.float().mean()):.0%} of places have the same "
        f"match before and after.{_right(gallery, foreground, found)}"
    )
    facts = (
        f"Places are patches where CLS looked before training, drawn by seed, apart from each "
        f"other. For each the patch of highest cosine of features in the neighbour is marked, and "
        f"below stand the cosines; before: of the weights that training began with, which its "
        f"teacher began with too; after: of the student. Compare cosines within a state: another "
        f"space has another scale. Numbers that fall on one patch share a mark. Means are over "
        f"{int(foreground.sum())} such patches of {len(foreground)} pairs. {how} "
        f"Images: {gallery.origin}."
    )
    title = "Correspondences with neighbours"
    return Figure("correspondences", title, caption, facts, tuple(rows), wide=True)


def choose_places(
    foreground: Bool[Tensor, " N"], grid: tuple[int, int], *, seed: int, pair: int
) -> Int[Tensor, " m"]:
    """Draw up to six foreground patches, in reading order, a quarter of the image apart.

    Less where there is no room for so many; at least a patch.
    """
    patches = foreground.nonzero()[:, 0]
    drawn = patches[torch.from_numpy(random_order(len(patches), seed, _DRAW, pair).copy())]
    points = torch.stack([drawn // grid[1], drawn % grid[1]], dim=1).double()
    between = torch.cdist(points, points)
    apart, wanted = max(grid) / 4, min(_PLACES, len(drawn))
    while True:
        chosen: list[int] = []
        for place in range(len(drawn)):
            if len(chosen) < wanted and bool((between[place, chosen] >= apart).all()):
                chosen.append(place)
        if len(chosen) == wanted:
            return drawn[chosen].sort().values
        apart = apart / 2 if apart > 1 else 0.0


def _row(
    gallery: Gallery,
    pair: int,
    places: Int[Tensor, " m"],
    found: dict[str, Found],
    grid: tuple[int, int],
) -> Row:
    other = pair + len(gallery.images) // 2
    name, neighbour = gallery.names[pair], gallery.names[other]
    pixels = _marked(gallery.images[pair], places.tolist(), grid)
    tiles = [Tile(pixels, "image", f"The image {name} with {len(places)} numbered places.")]
    for state, matches in found.items():
        where = matches.patch[pair, places].tolist()
        cosines = matches.cosine[pair, places].tolist()
        said = ", ".join(f"{n}:\u00a0{cosine:.2f}" for n, cosine in enumerate(cosines, start=1))
        pixels = _marked(gallery.images[other], where, grid)
        alt = f"The neighbour {neighbour} with the places that match best {state} training: {said}."
        tiles.append(Tile(pixels, f"neighbour {state}; {said}", alt))
    return Row(f"{name} and {neighbour}", tuple(tiles))


def _marked(image: Pixels, patches: Sequence[int], grid: tuple[int, int]) -> Pixels:
    """Number patches in an image; several numbers on one patch share a mark."""
    height, width = (round(_SIDE_PX / max(grid)) * patches for patches in grid)
    pixels = resize(image, height, width)
    numbers: dict[int, list[int]] = {}
    for number, patch in enumerate(patches):
        numbers.setdefault(patch, []).append(number)
    for patch, those in numbers.items():
        row, column = divmod(patch, grid[1])
        at = ((row + 0.5) * height / grid[0], (column + 0.5) * width / grid[1])
        text = ",".join(str(number + 1) for number in those)
        pixels = tag(pixels, at, text, PALETTE[1 + those[0]], _TAG_PX)
    return pixels


def _right(gallery: Gallery, foreground: Tensor, found: dict[str, Found]) -> str:
    """Return a sentence on how many matches are of the right category, where these are known."""
    if gallery.categories is None:
        return ""
    first, second = gallery.categories.chunk(2)
    shares = []
    for matches in found.values():
        same = second.gather(1, matches.patch) == first
        asked = foreground & (first > 0) & (first[:, :, None] == second[:, None, :]).any(dim=2)
        if not asked.any():
            return ""
        shares.append(f"{float(same[asked].float().mean()):.0%}")
    return (
        f" The true categories are known here: of the places whose category the neighbour shows "
        f"too, {shares[0]} are matched with it before and {shares[1]} after."
    )
