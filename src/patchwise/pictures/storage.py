"""Figures in a folder: a PNG for each image, and ``pictures.json`` with all the words."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from patchwise.errors import DataError
from patchwise.files import atomic_path, write_text
from patchwise.pictures.figure import Figure, Row, Scale, Swatch, Table, Tile

INDEX = "pictures.json"
FORMAT = 2


@dataclasses.dataclass(frozen=True)
class _StoredTile:
    file: str
    label: str
    alt: str
    coarse: bool


@dataclasses.dataclass(frozen=True)
class _StoredRow:
    label: str
    tiles: tuple[_StoredTile, ...]


@dataclasses.dataclass(frozen=True)
class _StoredFigure:
    name: str
    title: str
    caption: str
    facts: str
    rows: tuple[_StoredRow, ...]
    swatches: tuple[Swatch, ...]
    scale: Scale | None
    wide: bool
    table: Table | None


@dataclasses.dataclass(frozen=True)
class _Index:
    format: int
    source: str
    figures: tuple[_StoredFigure, ...]


def write_figures(figures: list[Figure], folder: Path, *, source: str) -> None:
    """Write figures; the index comes last, so that with it all images are there.

    Args:
        figures: With names of their own.
        folder: Made if it is not there; what it holds of other figures is removed.
        source: What they were computed from; see `read_figures`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    stored = [_write_figure(figure, folder) for figure in figures]
    index = {"format": FORMAT, "source": source, "figures": stored}
    write_text(folder / INDEX, json.dumps(index, indent=2, ensure_ascii=False) + "\n")


def read_figures(folder: Path, *, source: str) -> list[Figure] | None:
    """Return the figures of a folder; None if there are none that were computed from ``source``.

    Raises:
        DataError: The index or an image is damaged.
    """
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["source"]) != (FORMAT, source):
            return None
        index = TypeAdapter(_Index).validate_python(content)
        return [_read_figure(figure, folder) for figure in index.figures]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise DataError(
            f"report: {str(path)!r} and its images must be whole, got {error}; delete the folder, "
            f"and they are made anew"
        ) from error


def encode_png(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Return an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _write_figure(figure: Figure, folder: Path) -> dict[str, Any]:
    rows = []
    for r, row in enumerate(figure.rows):
        tiles = []
        for t, tile in enumerate(row.tiles):
            name = f"{figure.name}-{r + 1}-{t + 1}.png"
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(encode_png(tile.pixels))
            tiles.append(_StoredTile(name, tile.label, tile.alt, tile.coarse))
        rows.append(_StoredRow(row.label, tuple(tiles)))
    fields = {f.name: getattr(figure, f.name) for f in dataclasses.fields(figure)}
    return dataclasses.asdict(_StoredFigure(**{**fields, "rows": tuple(rows)}))


def _read_figure(stored: _StoredFigure, folder: Path) -> Figure:
    rows = tuple(
        Row(row.label, tuple(_read_tile(tile, folder) for tile in row.tiles)) for row in stored.rows
    )
    fields = {f.name: getattr(stored, f.name) for f in dataclasses.fields(stored)}
    return Figure(**{**fields, "rows": rows})


def _read_tile(stored: _StoredTile, folder: Path) -> Tile:
    with Image.open(folder / Path(stored.file).name, formats=("PNG",)) as image:
        pixels = np.array(image.convert("RGB"))
    return Tile(pixels, stored.label, stored.alt, stored.coarse)
