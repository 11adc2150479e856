"""What a picture is: images in rows, numbers, and every word that is needed to read them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class Tile:
    """One image of a figure."""

    pixels: UInt8[np.ndarray, "H W 3"]
    label: str  # stands below it
    alt: str  # for those who do not see it
    coarse: bool = False  # of flat squares, whose edges must stay sharp at any size


@dataclass(frozen=True)
class Row:
    """Images that are to be compared with each other."""

    label: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Swatch:
    """What a colour means."""

    colour: str  # "#rrggbb"
    meaning: str


@dataclass(frozen=True)
class Scale:
    """What the colours of a heat map mean."""

    colours: tuple[str, ...]  # "#rrggbb" from the lowest value to the highest
    low: str
    high: str
    label: str  # the quantity, with its unit


@dataclass(frozen=True)
class Line:
    """Numbers of a table that are to be compared with each other."""

    label: str
    values: tuple[float, ...]  # one a column; finite and not negative


@dataclass(frozen=True)
class Table:
    """Numbers, each with a bar; all bars are on one scale."""

    head: str  # of the labels
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    def share(self, value: float) -> float:
        """Return the length of the bar of a value, as a share of the longest one."""
        longest = max(v for line in self.lines for v in line.values)
        return value / longest if longest > 0 else 0.0


@dataclass(frozen=True)
class Figure:
    """A picture with its words. ``name`` is its address: lower case, letters and dashes."""

    name: str
    title: str
    caption: str  # how to read it, and what was found
    facts: str  # how it was made, in full
    rows: tuple[Row, ...]
    swatches: tuple[Swatch, ...] = ()
    scale: Scale | None = None
    wide: bool = False  # its images need room: two beside each other on a phone, not more
    table: Table | None = None
