"""What is in each synthetic scene: every random choice, as plain arrays."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from patchwise.data.synthetic_objects import KINDS
from patchwise.randomness import random_uniform

MAX_OBJECTS = 4
LARGEST_RADIUS = 0.3  # of an object, as a fraction of the scene's side
_FLOCK = 0.65  # chance that an object is of its scene's main kind: like goes with like

Floats = NDArray[np.float32]


class Purpose(IntEnum):
    """What a random draw is for; part of its key."""

    SCENE = 1
    CORNERS = 2
    OBJECTS = 3
    COLOURS = 4
    BACKGROUND = 5
    BLOTCHES = 6
    MOTTLE = 7
    NOISE = 8
    SHUFFLE = 9


@dataclass(frozen=True)
class Layout:
    """The objects of B scenes, J each, back to front; lengths are fractions of the scene's side."""

    present: NDArray[np.bool_]  # (B, J)
    kind: NDArray[np.int64]  # (B, J), index into KINDS
    x: Floats  # (B, J), middle
    y: Floats
    radius: Floats
    widen: Floats  # factor of u: below 1 for a wide object, negative for a mirrored one
    cosine: Floats  # of the tilt
    sine: Floats
    periods: Floats  # of the texture, in one radius
    phase_u: Floats  # of the texture, in periods
    phase_v: Floats
    light_u: Floats  # slope of the light over the object
    light_v: Floats


@dataclass(frozen=True)
class Background:
    """Amounts of what the backgrounds of B scenes consist of, (B,) each."""

    blotches: Floats
    mottle: Floats
    slope_down: Floats
    slope_across: Floats
    noise: Floats  # of the whole scene, in units of 1/255


def lay_out(ids: NDArray[np.int64], seed: int) -> Layout:
    """Draw the objects of the scenes ``ids``: two to four, each near a corner of its own."""
    slots = np.arange(MAX_OBJECTS, dtype=np.int64)
    draw = _draw(13, seed, ids[:, None], slots, Purpose.OBJECTS)
    scene = _draw(2, seed, ids, Purpose.SCENE)[:, :, None]  # [2, B, 1]
    count = 2 + np.floor(scene[0] * np.float32(3))
    of_a_kind = np.where(draw[12] < _FLOCK, scene[1], draw[0])
    order = random_uniform(MAX_OBJECTS, seed, ids, Purpose.CORNERS)
    corner = np.argsort(order, axis=1, kind="stable")
    right, low = (corner % 2).astype(np.float32), (corner // 2).astype(np.float32)
    half_tilt = _between(draw[3], -0.17, 0.17)  # tangent of half the angle: up to 19 degrees
    square = half_tilt * half_tilt
    return Layout(
        present=slots < count,
        kind=(of_a_kind * np.float32(len(KINDS))).astype(np.int64),
        x=_between(right, 0.29, 0.71) + _between(draw[1], -0.12, 0.12),
        y=_between(low, 0.29, 0.71) + _between(draw[2], -0.12, 0.12),
        radius=_between(draw[4], 0.19, LARGEST_RADIUS),
        widen=_between(draw[5], 0.88, 1.14) * np.where(draw[6] < 0.5, -1, 1).astype(np.float32),
        cosine=(1 - square) / (1 + square),
        sine=2 * half_tilt / (1 + square),
        periods=_between(draw[7], 1.8, 2.6),
        phase_u=draw[8],
        phase_v=draw[9],
        light_u=_between(draw[10], -0.35, 0.35),
        light_v=_between(draw[11], -0.35, 0.35),
    )


def draw_background(ids: NDArray[np.int64], seed: int) -> Background:
    """Draw how the backgrounds of the scenes ``ids`` look."""
    draw = _draw(6, seed, ids, Purpose.BACKGROUND)
    slope = draw[2]
    return Background(
        blotches=_between(draw[0], 0, 1.2),
        mottle=_between(draw[1], 0, 0.9),
        slope_down=slope * _between(draw[3], -0.5, 0.5),
        slope_across=slope * _between(draw[4], -0.5, 0.5),
        noise=_between(draw[5], 5, 20),
    )


def draw_colours(ids: NDArray[np.int64], seed: int) -> tuple[Floats, Floats]:
    """Draw two colours, of different brightness, for each surface of each scene.

    A scene's surfaces are the background, then the body and the part of each object.

    Returns:
        Colour at texture 0 and the way from there to the colour at texture 1, (3, B, 1 + 2J) each.
    """
    surfaces = np.arange(1 + 2 * MAX_OBJECTS, dtype=np.int64)
    draw = _draw(9, seed, ids[:, None], surfaces, Purpose.COLOURS)
    contrast = _between(draw[0], 0.32, 0.6)
    contrast[:, 0] *= np.float32(0.75)
    contrast[:, 2::2] *= np.float32(0.4)
    low = np.float32(0.08) + draw[1] * (np.float32(0.86) - contrast)
    bright_first = draw[2] < 0.5
    first = np.where(bright_first, low + contrast, low)
    second = np.where(bright_first, low, low + contrast)
    colour = _tinted(first, draw[3:6])
    return colour, _tinted(second, draw[6:9]) - colour


def _draw(count: int, *key: int | NDArray[np.int64]) -> Floats:
    """Return ``count`` numbers in [0, 1] for every key, the count first."""
    draw: Floats = np.moveaxis(random_uniform(count, *key).astype(np.float32), -1, 0)
    return draw


def _between(draw: Floats, low: float, high: float) -> Floats:
    return draw * np.float32(high - low) + np.float32(low)


def _tinted(grey: Floats, draw: Floats) -> Floats:
    """Return colours of about the brightness ``grey``."""
    tint = _between(draw, -0.5, 0.5)
    red, green, blue = tint[0] * np.float32(0.3), tint[1] * np.float32(0.59), tint[2]
    tint = tint - (red + green + blue * np.float32(0.11))
    colours: Floats = np.clip(grey + tint, np.float32(0.02), np.float32(0.98))
    return colours
