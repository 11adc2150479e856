"""Colours that tell things apart for colour-blind eyes too, and a scale from dark to light."""

import numpy as np
from jaxtyping import Float, UInt8

# Okabe and Ito 2008, "Color Universal Design"; grey in place of black.
PALETTE = (
    "#999999", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
)  # fmt: skip
RIGHT, WRONG, MARK = "#0072b2", "#d55e00", "#f0e442"
# "Inferno" of van der Walt and Smith 2015 at nine even steps: ever lighter, also in grey.
HEAT = (
    "#000004", "#210c4a", "#57106e", "#8a226a", "#bc3754", "#e45a31", "#f98e09", "#f9cb35",
    "#fcffa4",
)  # fmt: skip


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the three bytes of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def heat(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Return the colours of values in [0, 1], from dark to light; others are cut to that range."""
    steps = np.linspace(0, 1, len(HEAT))
    anchors = np.array([rgb(colour) for colour in HEAT], dtype=np.float64)
    channels = [np.interp(values, steps, anchors[:, c]) for c in range(3)]
    colours: UInt8[np.ndarray, "*shape 3"] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours
