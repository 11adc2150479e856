"""The ten kinds of things in the synthetic scenes: outline, a part of another colour, texture.

Everything is drawn in an object's own frame: u to the right, v downwards, the object within
[-1, 1]. Only additions, products, divisions, square roots, floors and comparisons of float32
are used, each exactly rounded, so that the pixels are the same on every platform.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]  # float32: a value for each pixel, (objects, side, side)
Where = NDArray[np.bool_]


@dataclass(frozen=True)
class TextureFrame:
    """Where a texture lies on its objects; every array broadcasts against a `Field`."""

    u: Field  # counts periods to the right
    v: Field  # counts periods downwards
    radius: Field  # counts periods from the middle of the object
    turn: Field  # counts spokes around the middle of the object


@dataclass(frozen=True)
class Kind:
    """How one category is drawn."""

    name: str
    body: Callable[[Field, Field], Where]
    part: Callable[[Field, Field], Where]  # in its own plain colour, over or beside the body
    texture: Callable[[TextureFrame], Field]  # in [0, 1]: from one colour to the other


def wave(phase: Field) -> Field:
    """Return a triangle wave of period 1: 1 at whole numbers, 0 half way between them."""
    height: Field = np.abs(2 * (phase - np.floor(phase)) - 1)
    return height


def _steep(value: Field, middle: float, gain: float) -> Field:
    """Return a soft step of ``value`` at ``middle``, in [0, 1]."""
    step: Field = np.clip((value - middle) * gain + 0.5, 0, 1)
    return step


def _from_middle(phase: Field) -> Field:
    """Return the signed distance of ``phase`` from the middle of its cell, in [-0.5, 0.5)."""
    return phase - np.floor(phase) - 0.5


def _every_other_row(v: Field) -> Field:
    """Return 0.5 in odd rows and 0 in even ones: the offset of a running bond."""
    half = np.floor(v) * 0.5
    return half - np.floor(half)


def _bands(at: TextureFrame) -> Field:
    return _steep(wave(at.v), 0.5, 4)


def _ribs(at: TextureFrame) -> Field:
    return _steep(wave(at.u), 0.5, 4)


def _checks(at: TextureFrame) -> Field:
    return _steep((wave(at.u) - 0.5) * (wave(at.v) - 0.5), 0, 16)


def _spots(at: TextureFrame) -> Field:
    across = _from_middle(at.u + _every_other_row(at.v))
    down = _from_middle(at.v)
    return _steep(across * across + down * down, 0.1, 12)


def _rings(at: TextureFrame) -> Field:
    return _steep(wave(at.radius), 0.5, 4)


def _bricks(at: TextureFrame) -> Field:
    upright = np.abs(_from_middle(at.u * 0.7 + _every_other_row(at.v)))
    level = np.abs(_from_middle(at.v))
    return _steep(np.maximum(upright + 0.06, level), 0.38, 12)


def _zigzag(at: TextureFrame) -> Field:
    return _steep(wave(at.v + wave(at.u * 0.8) * 0.9), 0.5, 4)


def _scales(at: TextureFrame) -> Field:
    across = _from_middle(at.u + _every_other_row(at.v))
    down = at.v - np.floor(at.v)
    return _steep(np.abs(across * across * 3.4 + down - 0.62), 0.17, 9)


def _spokes(at: TextureFrame) -> Field:
    return _steep(wave(at.turn), 0.5, 4)


def _lattice(at: TextureFrame) -> Field:
    rising, falling = at.u + at.v, at.u - at.v
    return _steep(np.maximum(wave(rising * 0.7), wave(falling * 0.7)), 0.68, 7)


def _ellipse(u: Field, v: Field, across: float, down: float) -> Where:
    u, v = u * (1 / across), v * (1 / down)
    return u * u + v * v < 1


def _box(u: Field, v: Field, across: float, down: float) -> Where:
    return (np.abs(u) < across) & (np.abs(v) < down)


def _crown(u: Field, v: Field) -> Where:
    return (v < -0.55) & (v > -1) & (np.abs(u) < 0.55) & (wave(u * 2.7) > (-0.55 - v) * 2.2)


def _tiers(u: Field, v: Field) -> Where:
    below = (v + 1) * 0.625  # 0 at the tip, 1 at the foot of the lowest tier
    third = below * 2
    width = below * 0.55 + (third - np.floor(third)) * 0.4
    inside: Where = (np.abs(u) < width) & (v < 0.6)
    return inside


def _petals(u: Field, v: Field) -> Where:
    a, b = np.abs(u), np.abs(v)
    long, short = np.maximum(a, b), np.minimum(a, b)
    straight = _ellipse(long - 0.6, short, 0.4, 0.36)
    slanted = _ellipse(a - 0.44, b - 0.44, 0.37, 0.37)
    return straight | slanted | _ellipse(u, v, 0.6, 0.6)


KINDS: tuple[Kind, ...] = (
    Kind(
        "bee",
        lambda u, v: _ellipse(u, v, 0.68, 0.95),
        lambda u, v: _ellipse(np.abs(u) - 0.66, v + 0.3, 0.34, 0.28),
        _bands,
    ),
    Kind(
        "jar",
        lambda u, v: _box(u, v - 0.15, 0.8, 0.83),
        lambda u, v: _box(u, v + 0.84, 0.5, 0.16),
        _ribs,
    ),
    Kind(
        "kite",
        lambda u, v: np.abs(u) * 1.15 + np.abs(v + 0.1) < 1,
        lambda u, v: (v > 0.55) & (v < 1) & (np.abs(u) < np.abs(v - 0.78) + 0.08),
        _checks,
    ),
    Kind(
        "beetle",
        lambda u, v: _ellipse(u, v - 0.12, 0.86, 0.86),
        lambda u, v: _ellipse(u, v + 0.74, 0.4, 0.26),
        _spots,
    ),
    Kind(
        "snail",
        lambda u, v: _ellipse(u, v + 0.12, 0.86, 0.86),
        lambda u, v: (v > 0.66) & (v < 0.95) & (u > -0.7) & (u < 1),
        _rings,
    ),
    Kind(
        "house",
        lambda u, v: _box(u, v - 0.3, 0.84, 0.68),
        lambda u, v: (v < -0.38) & (v > -1) & (np.abs(u) < (v + 1) * 1.55),
        _bricks,
    ),
    Kind(
        "pine",
        _tiers,
        lambda u, v: _box(u, v - 0.8, 0.16, 0.2),
        _zigzag,
    ),
    Kind(
        "fish",
        lambda u, v: _ellipse(u + 0.2, v, 0.8, 0.7),
        lambda u, v: (u > 0.5) & (u < 1) & (np.abs(v) < (u - 0.4) * 1.1),
        _scales,
    ),
    Kind(
        "flower",
        _petals,
        lambda u, v: _ellipse(u, v, 0.24, 0.24),
        _spokes,
    ),
    Kind(
        "pineapple",
        lambda u, v: _ellipse(u, v - 0.25, 0.68, 0.75),
        _crown,
        _lattice,
    ),
)
