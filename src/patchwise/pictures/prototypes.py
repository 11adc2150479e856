"""Which prototypes of the object-aware filter images use, and where in them."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.ops.statistics import position_bias
from patchwise.pictures.attention import overlay
from patchwise.pictures.colours import HEAT, PALETTE, heat, rgb
from patchwise.pictures.drawing import patch_map, resize
from patchwise.pictures.figure import Figure, Row, Scale, Swatch, Tile
from patchwise.pictures.gallery import Gallery

_PROTOTYPES, _EXAMPLES, _MAPS = 12, 4, 6  # shown
_SIDE_PX = 160


def prototypes_figure(
    gallery: Gallery, weights: Float[Tensor, "B N M"], grid: tuple[int, int]
) -> Figure:
    """Show the most used prototypes, each with the images that have the patch that reads it most.

    Args:
        gallery: The images.
        weights: With which patches read the prototypes.
        grid: Rows and columns of the patches.
    """
    rows = [
        _prototype_row(gallery, weights, grid, prototype)
        for prototype in most_used(weights)[:_PROTOTYPES]
    ]
    count = weights.shape[-1]
    use = weights.double().mean(dim=(0, 1))
    spread = float(torch.special.entr(use).sum().exp())
    one = float(torch.special.entr(weights.double()).sum(dim=-1).exp().mean())
    caption = (
        f"After training every patch is told again as a mixture of {count} prototypes. Each row "
        f"shows one of them, with the images whose patches read it most. Good prototypes are read "
        f"by one kind of thing or part, whatever the image; poor ones by everything, by a colour, "
        f"or by a place such as the edge of the image. A patch reads about {one:.0f} prototypes, "
        f"all patches together about {spread:.0f} of {count}, and "
        f"{int((strongest_shares(weights) > 0).sum())} are what some patch reads most."
    )
    facts = (
        f"The {len(rows)} prototypes that most patches read more than any other one, and of each "
        f"the {_EXAMPLES} of {len(weights)} images with the highest weights. Weights are means "
        f"over heads; those of a patch add up to 1, and how many prototypes are read is "
        f"exp(entropy) of them. Below an image is its highest weight. A place explains the share "
        f"of the variance of weights that is the same in all images. "
        f"Images: {gallery.origin}."
    )
    scale = Scale(HEAT, "0", "highest weight of the row", "with what weight a patch reads it")
    title = "What prototypes stand for"
    return Figure("prototypes", title, caption, facts, tuple(rows), scale=scale)


def _prototype_row(gallery: Gallery, weights: Tensor, grid: tuple[int, int], prototype: int) -> Row:
    """Return the images that read a prototype most, each beside its weights."""
    own = weights[..., prototype]
    peak = own.amax(dim=1)
    tiles = []
    for image in peak.argsort(descending=True, stable=True)[:_EXAMPLES].tolist():
        pixels = resize(gallery.images[image], _SIDE_PX, _SIDE_PX)
        share = (own[image] / peak.max().clamp(min=1e-12)).view(grid)
        name, most = gallery.names[image], float(peak[image])
        alt = f"Where {name} reads prototype {prototype + 1}: with a weight of at most {most:.2f}."
        tiles.append(Tile(pixels, "image", f"The image {name}."))
        tiles.append(Tile(overlay(pixels, share.numpy()), f"{most:.2f}", alt))
    label = (
        f"Prototype {prototype + 1}: most read by "
        f"{float(strongest_shares(weights)[prototype]):.1%} of patches, "
        f"{float(own.mean()):.1%} of all weight, its place explains "
        f"{float(position_bias(own[..., None])):.0%}"
    )
    return Row(label, tuple(tiles))


def prototype_maps_figure(
    gallery: Gallery, weights: Float[Tensor, "B N M"], grid: tuple[int, int]
) -> Figure:
    """Show some images with each patch in the colour of the prototype that it reads most."""
    shares = strongest_shares(weights)
    named = [prototype for prototype in most_used(weights) if shares[prototype] > 0]
    named = named[: len(PALETTE) - 1]
    colours = np.tile(np.array(rgb(PALETTE[0]), dtype=np.uint8), (len(shares), 1))
    for colour, prototype in zip(PALETTE[1:], named, strict=False):
        colours[prototype] = rgb(colour)
    rows = []
    for i in range(min(gallery.shown, _MAPS)):
        name = gallery.names[i]
        most, strongest = weights[i].max(dim=1)
        drawn = patch_map(colours[strongest.view(grid).numpy()])
        tiles = (
            Tile(gallery.images[i], "image", f"The image {name}."),
            Tile(drawn, "most read", f"Patches of {name} by the prototype they read most.", True),
            Tile(
                patch_map(heat(most.view(grid).numpy())),
                "its weight",
                f"With what weight: from {float(most.min()):.2f} to {float(most.max()):.2f}.",
                True,
            ),
        )
        rows.append(Row(name, tiles))
    other = 1 - float(shares[named].sum())
    swatches = [
        Swatch(colour, f"prototype {prototype + 1}: {float(shares[prototype]):.0%}")
        for colour, prototype in zip(PALETTE[1:], named, strict=False)
    ]
    if other > 0:
        swatches.append(Swatch(PALETTE[0], f"any other: {other:.0%}"))
    caption = (
        "Each patch has the colour of the prototype that it reads most. Where colours follow "
        "objects and their parts, in all images alike, prototypes have found what recurs; where "
        "one colour fills all images, patches are told by hardly anything but that."
    )
    facts = (
        f"The {len(named)} prototypes that are most often the most read have colours of their own; "
        f"percentages are shares of the patches of all {len(weights)} images. A patch may read "
        f"others nearly as much: the last image of a row shows with what weight, the mean over "
        f"heads, it reads the most read one. Images: {gallery.origin}."
    )
    scale = Scale(HEAT, "0", "1", "weight of the most read prototype")
    title = "Prototypes in images"
    return Figure("prototype-map", title, caption, facts, tuple(rows), tuple(swatches), scale)


def most_used(weights: Float[Tensor, "B N M"]) -> list[int]:
    """Return the prototypes in the order of how many patches read them most.

    Where these are as many, in the order of the weight with which all patches read them.
    """
    by_weight = weights.double().mean(dim=(0, 1)).argsort(descending=True, stable=True)
    shares = strongest_shares(weights)[by_weight]
    order: list[int] = by_weight[shares.argsort(descending=True, stable=True)].tolist()
    return order


def strongest_shares(weights: Float[Tensor, "B N M"]) -> Float[Tensor, " M"]:
    """Return the share of patches that read each prototype more than any other one."""
    strongest: Int[Tensor, " BN"] = weights.argmax(dim=-1).flatten()
    return torch.bincount(strongest, minlength=weights.shape[-1]).double() / len(strongest)
