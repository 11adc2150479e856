"""From a layout to pixels: backgrounds, objects in local tiles, colour, light and noise.

Only exactly rounded float32 arithmetic and whole numbers are used, one operation at a time, so
that every platform draws the same bytes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchwise.data.synthetic_layout import (
    LARGEST_RADIUS,
    MAX_OBJECTS,
    Background,
    Floats,
    Layout,
    Purpose,
)
from patchwise.data.synthetic_objects import KINDS, Field, TextureFrame, Where
from patchwise.randomness import random_bits, random_uniform

_REACH = 1.3  # an object lies within this many radii of its middle, stretch and tilt included
_SHOW_THROUGH = np.float32(0.7)  # how much of the background's mottle lies over the textures
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class Canvas:
    """What is seen at each pixel of B scenes; objects are painted over it, back to front."""

    texture: Field  # (B, H, W): from a surface's one colour (0) to its other (1)
    light: Field  # (B, H, W): factor of the brightness
    surface: NDArray[np.uint8]  # (B, H, W): 0 background, 2j - 1 body and 2j part of object j


@dataclass(frozen=True)
class _Tiles:
    """All objects of one kind, n of them, each in a tile of its own."""

    body: Where  # (n, side, side)
    part: Where
    texture: Field
    light: Field


def blank_canvas(
    ids: NDArray[np.int64], background: Background, *, size_px: int, seed: int
) -> Canvas:
    """Paint the backgrounds: blotches, a fine mottle and a slope, in amounts that vary."""
    blotches = _value_noise(random_uniform(49, seed, ids, Purpose.BLOTCHES), 7, size_px)
    mottle = _value_noise(random_uniform(400, seed, ids, Purpose.MOTTLE), 20, size_px)
    at = (np.arange(size_px, dtype=np.float32) + _HALF) / np.float32(size_px)
    down, across = _over_pixels(background.slope_down), _over_pixels(background.slope_across)
    texture = _HALF + _over_pixels(background.blotches) * (blotches - _HALF)
    texture += _over_pixels(background.mottle) * (mottle - _HALF)
    texture += down * at[:, None] + across * at
    np.clip(texture, 0, 1, out=texture)
    return Canvas(texture, np.ones_like(texture), np.zeros(texture.shape, dtype=np.uint8))


def paint_objects(layout: Layout, canvas: Canvas) -> None:
    """Paint the objects of a layout onto the canvas, in place."""
    size_px = canvas.texture.shape[-1]
    side = min(size_px, 2 * int(np.ceil(LARGEST_RADIUS * _REACH * size_px)))
    middle = np.stack([layout.y, layout.x]) * np.float32(size_px) - np.float32(side // 2)
    corner = np.clip(np.round(middle), 0, size_px - side).astype(np.int64)  # (2, B, J)
    found: dict[tuple[int, int], tuple[_Tiles, int]] = {}
    for kind in range(len(KINDS)):
        scene, slot = np.nonzero((layout.kind == kind) & layout.present)
        if len(scene):
            tiles = _draw_kind(layout, (scene, slot), corner[:, scene, slot], (side, size_px))
            objects = zip(scene.tolist(), slot.tolist(), strict=True)
            found.update({at: (tiles, row) for row, at in enumerate(objects)})
    for (scene_row, slot_row), (tiles, row) in sorted(found.items(), key=lambda item: item[0]):
        top, left = corner[:, scene_row, slot_row]
        window = (scene_row, slice(top, top + side), slice(left, left + side))
        _stamp(canvas, window, tiles=tiles, row=row, number=slot_row + 1)


def colour_pixels(
    canvas: Canvas, colours: tuple[Floats, Floats], noise: Field
) -> NDArray[np.uint8]:
    """Mix each surface's two colours by the texture; apply the light; add the noise.

    Args:
        canvas: The painted scenes.
        colours: Colour at texture 0 and the way to the colour at texture 1, (3, B, surfaces) each.
        noise: To be added, in units of 1/255 (3, B, H, W).

    Returns:
        Images (B, H, W, 3).
    """
    first, change = colours
    scenes = np.arange(len(canvas.surface))[:, None, None]
    entry = scenes * first.shape[-1] + canvas.surface
    images = np.empty((*canvas.surface.shape, 3), dtype=np.uint8)
    for channel in range(3):
        value = change[channel].ravel()[entry]
        value *= canvas.texture
        value += first[channel].ravel()[entry]
        value *= canvas.light
        value *= np.float32(255)
        value += noise[channel]
        images[..., channel] = np.clip(value, 0, 255, out=value)
    return images


def draw_noise(ids: NDArray[np.int64], amount: Floats, *, size_px: int, seed: int) -> Field:
    """Draw uniform noise of up to ``amount`` (B,) either way for every value, (3, B, H, W)."""
    values = 3 * size_px * size_px
    words = random_bits((values + 7) // 8, seed, ids, Purpose.NOISE)
    grain = words.astype("<u8").view(np.uint8)[:, :values].astype(np.float32)
    grain -= np.float32(127.5)
    grain *= (amount / np.float32(127.5))[:, None]
    return np.moveaxis(grain.reshape(len(ids), 3, size_px, size_px), 1, 0)


def instances(surface: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the number of the object at each pixel, 0 for the background."""
    return np.asarray((surface + 1) >> 1, dtype=np.uint8)


def kinds_of(layout: Layout, instance: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 + the kind of the object at each pixel, 0 for the background."""
    table = np.zeros((len(instance), MAX_OBJECTS + 1), dtype=np.uint8)
    table[:, 1:] = layout.kind + 1
    row = np.arange(len(instance))[:, None, None] * (MAX_OBJECTS + 1)
    kinds: NDArray[np.uint8] = table.ravel()[row + instance]
    return kinds


def _draw_kind(
    layout: Layout,
    at: tuple[NDArray[np.int64], NDArray[np.int64]],
    corner: NDArray[np.int64],
    sides: tuple[int, int],
) -> _Tiles:
    """Draw the objects ``at`` (scene, slot), all of one kind, in tiles that start at ``corner``."""
    side, size_px = sides
    kind = KINDS[int(layout.kind[at][0])]
    top, left = corner.astype(np.float32)
    pixel = np.arange(side, dtype=np.float32) + _HALF
    scale = np.float32(1) / (layout.radius[at] * np.float32(size_px))
    cosine, sine = _over_pixels(layout.cosine[at] * scale), _over_pixels(layout.sine[at] * scale)
    across = pixel + (left - layout.x[at] * np.float32(size_px))[:, None]
    down = pixel + (top - layout.y[at] * np.float32(size_px))[:, None]
    across, down = across[:, None, :], down[:, :, None]
    u = (across * cosine + down * sine) * _over_pixels(layout.widen[at])
    v = down * cosine - across * sine

    periods = _over_pixels(layout.periods[at])
    phase_u, phase_v = _over_pixels(layout.phase_u[at]), _over_pixels(layout.phase_v[at])
    frame = TextureFrame(
        u=u * periods + phase_u,
        v=v * periods + phase_v,
        radius=np.sqrt(u * u + v * v) * periods + phase_u,
        turn=v / (np.abs(u) + np.abs(v) + np.float32(1e-6)) * np.float32(2) + phase_u,
    )
    light = 1 + _over_pixels(layout.light_u[at]) * u + _over_pixels(layout.light_v[at]) * v
    return _Tiles(kind.body(u, v), kind.part(u, v), kind.texture(frame), light)


def _stamp(
    canvas: Canvas, window: tuple[int, slice, slice], *, tiles: _Tiles, row: int, number: int
) -> None:
    """Put one object where it lies, over what is there."""
    body, part = tiles.body[row], tiles.part[row]
    below = canvas.texture[window]
    texture = tiles.texture[row] + _SHOW_THROUGH * (below - _HALF)
    np.copyto(below, texture, where=body)
    np.copyto(canvas.light[window], tiles.light[row], where=body | part)
    np.copyto(canvas.surface[window], np.uint8(2 * number - 1), where=body)
    np.copyto(canvas.surface[window], np.uint8(2 * number), where=part)


def _over_pixels(values: Floats) -> Field:
    """Make one number for each scene or object broadcast over its pixels."""
    return values[:, None, None]


def _value_noise(values: NDArray[np.float64], corners: int, size_px: int) -> Field:
    """Interpolate smoothly between random numbers on a grid of ``corners`` x ``corners``."""
    grid = values.astype(np.float32).reshape(-1, corners, corners)
    at = (np.arange(size_px, dtype=np.float32) + _HALF) * np.float32((corners - 1) / size_px)
    cell = at.astype(np.int64)
    rest = at - cell.astype(np.float32)
    rest = rest * rest * (np.float32(3) - np.float32(2) * rest)
    grid = grid[:, cell] + (grid[:, cell + 1] - grid[:, cell]) * rest[:, None]
    noise: Field = grid[:, :, cell] + (grid[:, :, cell + 1] - grid[:, :, cell]) * rest
    return noise
