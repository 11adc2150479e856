"""Patch features as colours: three directions that before and after share."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_same_shape
from patchwise.pictures.drawing import patch_map
from patchwise.pictures.figure import Figure, Row, Tile
from patchwise.pictures.gallery import Gallery, Seen

_CUT = 0.01  # of all values, at either end, that are beyond the range of colours


@dataclass(frozen=True)
class SharedColours:
    """Colours of two sets of features by the same three directions and the same ranges."""

    before: Float[Tensor, "B N 3"]  # red, green, blue in [0, 1]
    after: Float[Tensor, "B N 3"]
    share_before: float  # of the variance within images along the three directions, in [0, 1]
    share_after: float


def shared_colours(before: Float[Tensor, "B N D"], after: Float[Tensor, "B N D"]) -> SharedColours:
    """Colour two sets of features of the same patches by one basis.

    1. From each image's features their mean is subtracted: what distinguishes images would hide
       what distinguishes the patches of an image.
    2. Each set is scaled to the same total variance, as a whole: no channel by itself.
    3. Of both sets together, the three directions of most variance.
    4. Red, green and blue are the places along them; darkest and lightest are the same two values
       in both sets, at one percent from either end of all values.

    Equal sets get equal colours, and so do sets that differ by a factor, or a shift of an image.
    """
    check_same_shape("shared_colours", before=before, after=after)
    first, second = _standardised(before), _standardised(after)
    covariance = first.T @ first + second.T @ second  # [D, D]
    directions = torch.linalg.eigh(covariance).eigenvectors[:, -3:].flip(1)  # [D, 3]
    largest = directions.abs().argmax(dim=0, keepdim=True)
    directions = directions * directions.gather(0, largest).sign()  # eigh leaves the sign open
    place_first, place_second = first @ directions, second @ directions
    ends = torch.tensor([_CUT, 1 - _CUT], dtype=torch.float64)
    low, high = torch.cat([place_first, place_second]).quantile(ends, dim=0)
    span = (high - low).clamp(min=1e-9)
    return SharedColours(
        before=((place_first - low) / span).clamp(0, 1).view(*before.shape[:2], 3),
        after=((place_second - low) / span).clamp(0, 1).view(*before.shape[:2], 3),
        share_before=_share(place_first, first),
        share_after=_share(place_second, second),
    )


def pca_figure(gallery: Gallery, before: Seen, after: Seen) -> Figure:
    """Show patch features as colours, before beside after."""
    count, channels = before.patches[:, 0].shape
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
    facts = (
        f"Red, green and blue are three directions in the {channels} channels, the same three with "
        f"the same colour range for all images, before and after: from each image its mean was "
        f"subtracted, both sets of features were scaled to equal variance, and one basis was "
        f"fitted to both together. It holds {colours.share_before:.0%} of the variance within "
        f"images before and {colours.share_after:.0%} after; the rest is not seen here. Before "
        f"and after are different spaces, in which a direction need not mean the same: compare "
        f"where colours change, not a colour before with the same one after. "
        f"Images: {gallery.origin}; the basis is that of all {count}."
    )
    return Figure("pca", "Patch features as colours", caption, facts, tuple(rows))


def _standardised(features: Tensor) -> Tensor:
    """Return all patches in float64, of mean 0 in each image and mean squared length 1 [BN, D]."""
    centred = (features.double() - features.double().mean(dim=1, keepdim=True)).flatten(0, 1)
    return centred / centred.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)


def _share(places: Tensor, features: Tensor) -> float:
    total = float(features.square().sum())
    return float(places.square().sum()) / total if total > 0 else 0.0
