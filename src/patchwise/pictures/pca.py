"""Patch features as colours: three directions of each space, turned so that colours agree."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_shape
from patchwise.pictures.drawing import patch_map
from patchwise.pictures.figure import Figure, Row, Tile
from patchwise.pictures.gallery import Gallery, Seen

_CUT = 0.01  # of all values, at either end, that are beyond the range of colours


@dataclass(frozen=True)
class SharedColours:
    """Colours of two sets of features, by three directions of each and the same ranges."""

    before: Float[Tensor, "B N 3"]  # red, green, blue in [0, 1]
    after: Float[Tensor, "B N 3"]
    share_before: float  # of the variance within images along its three directions, in [0, 1]
    share_after: float


def shared_colours(before: Float[Tensor, "B N D"], after: Float[Tensor, "B N E"]) -> SharedColours:
    """Colour two sets of features of the same patches, of any two widths.

    1. From each image's features their mean is subtracted: what distinguishes images would hide
       what distinguishes the patches of an image.
    2. Each set is scaled to the same total variance, as a whole: no channel by itself.
    3. Of each set, the three directions of most variance: two spaces have no directions in common.
    4. The places along them, three numbers a patch, are turned (and mirrored where that helps) so
       that patches have places as near as can be in both sets: orthogonal Procrustes.
    5. Red, green and blue are the axes of most variance of both sets of places together; darkest
       and lightest are the same two values in both, at one percent from either end of all values.

    Equal sets get equal colours, and so do sets that differ by a factor, a turn, more channels that
    say nothing, or a shift of an image.

    Raises:
        ShapeError: The sets are not of the same patches.
    """
    check_shape("shared_colours", (*before.shape[:2], None), after=after)
    first, second = _standardised(before), _standardised(after)
    places, others = first @ _directions(first), second @ _directions(second)  # [BN, 3]
    left, _, right = torch.linalg.svd(others.T @ places)
    others = others @ left @ right
    both = torch.cat([places, others])
    axes = _directions(both)
    # eigh leaves the sign open: of both sets, those far from the mean are light.
    axes = axes * torch.where((both @ axes).pow(3).sum(dim=0) < 0, -1.0, 1.0)
    colours = both @ axes
    ends = torch.tensor([_CUT, 1 - _CUT], dtype=torch.float64)
    low, high = colours.quantile(ends, dim=0)
    colours = ((colours - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    red_green_blue = colours.view(2, *before.shape[:2], 3)
    return SharedColours(
        before=red_green_blue[0],
        after=red_green_blue[1],
        share_before=_share(places, first),
        share_after=_share(others, second),
    )


def pca_figure(gallery: Gallery, before: Seen, after: Seen) -> Figure:
    """Show patch features as colours, before beside after."""
    count = len(before.patches)
    colours = shared_colours(before.patches, after.patches)
    maps = [c.view(count, *before.grid, 3) for c in (colours.before, colours.after)]
    rows = []
    for i in range(gallery.shown):
        name = gallery.names[i]
        tiles = [Tile(gallery.images[i], "image", f"The image {name}.")]
        for label, colour in zip(("before", "after"), maps, strict=True):
            pixels = patch_map((colour[i] * 255).round().to(torch.uint8).numpy())
            alt = f"Patches of {name} {label} training, coloured by their features."
            tiles.append(Tile(pixels, label, alt, coarse=True))
        rows.append(Row(name, tuple(tiles)))
    caption = (
        "Each square is a patch; patches of like colour have like features. Good features change "
        "colour where objects end, not where light or texture changes, and give like parts "
        "like colours, from image to image."
    )
    widths = [seen.patches.shape[-1] for seen in (before, after)]
    facts = (
        f"Features have {widths[0]} channels before and {widths[1]} after: two spaces that have no "
        f"direction in common. From each image its mean was subtracted, and of each space the "
        f"three directions of most variance were taken; they hold {colours.share_before:.0%} of "
        f"the variance within images before and {colours.share_after:.0%} after, and the rest is "
        f"not seen here. Then the three after were turned, as a whole, so that patches keep their "
        f"colours from before as far as they can; red, green and blue have one range for all "
        f"images, before and after. A patch that has changed its colour has moved among "
        f"the others; the size of the change is no measure. Images: {gallery.origin}; the "
        f"directions are those of all {count}."
    )
    return Figure("pca", "Patch features as colours", caption, facts, tuple(rows))


def _standardised(features: Tensor) -> Tensor:
    """Return all patches in float64, of mean 0 in each image and mean squared length 1 [BN, D]."""
    centred = (features.double() - features.double().mean(dim=1, keepdim=True)).flatten(0, 1)
    return centred / centred.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)


def _directions(features: Tensor) -> Tensor:
    """Return the three directions of most variance, the most first [D, 3]."""
    directions: Tensor = torch.linalg.eigh(features.T @ features).eigenvectors[:, -3:]
    return directions.flip(1)


def _share(places: Tensor, features: Tensor) -> float:
    total = float(features.square().sum())
    return float(places.square().sum()) / total if total > 0 else 0.0
