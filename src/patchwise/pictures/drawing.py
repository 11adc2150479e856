"""Drawing on images: enlarging, frames, numbers, veils over patches."""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from patchwise.pictures.colours import rgb

Box = tuple[float, float, float, float]  # top, left, height, width, in pixels
Pixels = UInt8[np.ndarray, "_ _ 3"]  # of any size

_MUCH = 3  # from this factor on, an enlarged image shows its pixels


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the image in another size; if it is enlarged much, its pixels stay squares."""
    much = height >= _MUCH * len(pixels)
    rule = Image.Resampling.NEAREST if much else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(pixels).resize((width, height), rule))


def fit(pixels: Pixels, side_px: int) -> tuple[Pixels, float]:
    """Return the image with ``side_px`` as its long side, and the factor that took."""
    factor = side_px / max(pixels.shape[:2])
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return resize(pixels, height, width), factor


def patch_map(colours: UInt8[np.ndarray, "rows columns 3"], *, least_px: int = 160) -> Pixels:
    """Return a map with one flat square for each patch, its long side at least ``least_px``."""
    cell = -(-least_px // max(colours.shape[:2]))
    return colours.repeat(cell, axis=0).repeat(cell, axis=1)


def frame(pixels: Pixels, box: Box, colour: str, *, width_px: int = 3) -> Pixels:
    """Draw the outline of a box, with a dark line on both sides so that it shows on any ground."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    top, left, height, wide = box
    for grow, line, ink in ((1, width_px + 2, (0, 0, 0)), (0, width_px, rgb(colour))):
        corners = (left - grow, top - grow, left + wide - 1 + grow, top + height - 1 + grow)
        draw.rectangle(corners, outline=ink, width=line)
    return np.array(image)


def tag(pixels: Pixels, at: tuple[float, float], text: str, colour: str, size_px: int) -> Pixels:
    """Write a short text on a disc or a pill of ``colour`` round the point ``at`` (y, x)."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size_px * 0.72)
    half_width = max(size_px, draw.textlength(text, font) + size_px * 0.5) / 2
    half = size_px / 2
    y = min(max(at[0], half), image.height - half - 1)
    x = min(max(at[1], half_width), image.width - half_width - 1)
    corners = (x - half_width, y - half, x + half_width, y + half)
    line = max(1, size_px // 12)
    draw.rounded_rectangle(corners, half, fill=rgb(colour), outline=(0, 0, 0), width=line)
    draw.text((x, y), text, fill=_ink_on(colour), font=font, anchor="mm")
    return np.array(image)


def veil(pixels: Pixels, kept: Bool[np.ndarray, "rows columns"], *, light: float = 0.3) -> Pixels:
    """Darken the patches that are not kept; the image's sides are multiples of the grid's."""
    rows, columns = kept.shape
    cell = (pixels.shape[0] // rows, pixels.shape[1] // columns)
    mask = kept.repeat(cell[0], axis=0).repeat(cell[1], axis=1)[..., None]
    return np.where(mask, pixels, (pixels * light).astype(np.uint8))


def cut(pixels: Pixels, box: tuple[int, int, int, int]) -> Pixels:
    """Return a box of an image."""
    top, left, height, width = box
    return pixels[top : top + height, left : left + width]


def _ink_on(colour: str) -> tuple[int, int, int]:
    """Return black or white, whichever stands out more on a colour."""
    red, green, blue = rgb(colour)
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 120
    return (0, 0, 0) if light else (255, 255, 255)
