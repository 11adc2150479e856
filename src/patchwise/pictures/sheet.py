"""Figures on one sheet, for those who want a single image."""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from patchwise.pictures.drawing import Pixels, fit
from patchwise.pictures.figure import Figure, Row, Table, Tile

_GAP = 14
_TITLE_PX, _TEXT_PX, _LABEL_PX = 24, 16, 15
_INK, _GROUND, _MUTED = (27, 31, 36), (255, 255, 255), (89, 99, 110)


def draw_sheet(figures: Sequence[Figure], *, tile_px: int = 240, columns: int = 5) -> Pixels:
    """Return all figures below each other, with titles, captions and labels.

    Args:
        figures: To be drawn in this order.
        tile_px: Long side of each image.
        columns: Most images beside each other.
    """
    width = columns * (tile_px + _GAP) + _GAP
    blocks = []
    for figure in figures:
        blocks.append(_text(figure.title, width, _TITLE_PX, _INK))
        blocks.append(_text(figure.caption, width, _TEXT_PX, _INK))
        blocks += [_text(line, width, _TEXT_PX, _INK) for line in _in_words(figure.table)]
        for row in figure.rows:
            blocks.append(_text(row.label, width, _TEXT_PX, _INK))
            blocks += [_strip(part, width, tile_px) for part in _parts(row, columns)]
        blocks.append(_text(figure.facts, width, _LABEL_PX, _MUTED))
    return np.concatenate([np.concatenate([block, _blank(_GAP, width)]) for block in blocks])


def _in_words(table: Table | None) -> list[str]:
    """Return a table as lines of text."""
    if table is None:
        return []
    return [
        f"{line.label}: "
        + ", ".join(f"{c} {v:.2f}" for c, v in zip(table.columns, line.values, strict=True))
        for line in table.lines
    ]


def _parts(row: Row, columns: int) -> list[Sequence[Tile]]:
    return [row.tiles[start : start + columns] for start in range(0, len(row.tiles), columns)]


def _strip(tiles: Sequence[Tile], width: int, tile_px: int) -> Pixels:
    fitted = [fit(tile.pixels, tile_px)[0] for tile in tiles]
    high = max(len(pixels) for pixels in fitted)
    sheet = Image.fromarray(_blank(high + 2 * _LABEL_PX, width))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_LABEL_PX)
    for place, (tile, pixels) in enumerate(zip(tiles, fitted, strict=True)):
        left = _GAP + place * (tile_px + _GAP)
        sheet.paste(Image.fromarray(pixels), (left, 0))
        draw.text((left, len(pixels) + 4), tile.label, fill=_MUTED, font=font)
    return np.array(sheet)


def _text(text: str, width: int, size_px: int, ink: tuple[int, int, int]) -> Pixels:
    font = ImageFont.load_default(size_px)
    letter = ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength("n", font)
    lines = textwrap.wrap(text, max(20, int((width - 2 * _GAP) / letter))) or [""]
    sheet = Image.fromarray(_blank(round(1.35 * size_px * len(lines)) + 4, width))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_GAP, round(1.35 * size_px * number)), line, fill=ink, font=font)
    return np.array(sheet)


def _blank(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), _GROUND, dtype=np.uint8)
