"""Images beside their nearest images, for people to judge whether they belong together."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from patchwise.data.source import ImageSource
from patchwise.pictures.drawing import Pixels, fit
from patchwise.pictures.figure import Figure, Row, Tile
from patchwise.randomness import random_order

_SIDE_PX = 160
_DRAW = 103  # key of the draw of rows


@dataclass(frozen=True)
class Alike:
    """The nearest images of each image; rows of images that have none hold NaN cosines."""

    source: ImageSource
    name: Callable[[int], str]  # what an image is called
    ids: Int64[np.ndarray, "N k"]
    cosines: Float32[np.ndarray, "N k"]

    def good(self) -> Int64[np.ndarray, " good"]:
        """Return the images that have neighbours of their own."""
        return np.flatnonzero(~np.isnan(self.cosines[:, 0]))

    def chosen(self) -> Int64[np.ndarray, " N"]:
        """Return how many images each image is a neighbour of."""
        return np.bincount(self.ids[self.good()].ravel(), minlength=len(self.ids))


def alike_figures(alike: Alike, *, rows: int, facts: str, seed: int = 0) -> list[Figure]:
    """Return pictures of some images with their neighbours.

    Args:
        alike: Which are whose.
        rows: Images of each picture.
        facts: How neighbours were found.
        seed: Of the draw of those that stand for all.
    """
    good, k = alike.good(), alike.ids.shape[1]
    drawn = good[random_order(len(good), seed, _DRAW)[:rows]]
    first = alike.cosines[good, 0]
    mean = alike.cosines[good].mean(axis=1)
    figures = [
        _figure(
            alike,
            "drawn",
            "Images drawn by chance",
            f"What to expect of all: each image with its {k} nearest ones, the nearest first. Good "
            f"neighbours show the same kind of things, whatever their light and colours. Over all "
            f"images the nearest one has a cosine of {np.median(first):.2f} in the median.",
            drawn,
        ),
        _figure(
            alike,
            "nearest",
            "Images that are nearest to another one",
            "Near-duplicates are found here, if there are any: an image that is paired with a copy "
            "of itself teaches nothing. A limit of the cosine leaves them out.",
            good[(-first).argsort(kind="stable")[:rows]],
        ),
        _figure(
            alike,
            "loneliest",
            "Images that are unlike all others",
            "The lowest means of a row: what is rare in these images has poor neighbours.",
            good[mean.argsort(kind="stable")[:rows]],
        ),
    ]
    said = f"Below each neighbour is the cosine with the first image of the row. {facts}"
    shown = [replace(figure, facts=said) for figure in figures]
    return [*shown, _most_chosen(alike, rows)]


def _figure(alike: Alike, name: str, title: str, caption: str, images: NDArray[np.int64]) -> Figure:
    return Figure(name, title, caption, "", tuple(_row(alike, image) for image in images.tolist()))


def _row(alike: Alike, image: int) -> Row:
    tiles = [Tile(_pixels(alike, image), "the image", alike.name(image))]
    pairs = zip(alike.ids[image].tolist(), alike.cosines[image].tolist(), strict=True)
    for place, (other, cosine) in enumerate(pairs, start=1):
        words = f"neighbour {place}, cosine {cosine:.2f}: {alike.name(other)}"
        tiles.append(Tile(_pixels(alike, other), f"{cosine:.2f}", words))
    return Row(alike.name(image), tuple(tiles))


def _most_chosen(alike: Alike, count: int) -> Figure:
    """Show the images that are neighbours of most others."""
    chosen = alike.chosen()
    tiles = [
        Tile(_pixels(alike, image), f"of {chosen[image]} images", alike.name(image))
        for image in (-chosen).argsort(kind="stable")[:count].tolist()
    ]
    good, k = alike.good(), alike.ids.shape[1]
    never = int((chosen[good] == 0).sum())
    caption = (
        f"On average an image is a neighbour of {k} others; {never} of {len(good)} images are of "
        f"none. Where few images are neighbours of very many, a step of training sees little "
        f"variety: such images often are nearly empty."
    )
    title = "Images that are neighbours of most others"
    facts = "Below each image is of how many others it is a neighbour."
    return Figure("hubs", title, caption, facts, (Row("Most chosen", tuple(tiles)),))


def _pixels(alike: Alike, image: int) -> Pixels:
    return fit(alike.source.read(image), _SIDE_PX)[0]
