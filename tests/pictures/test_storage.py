"""Figures in a folder come back as they were, or not at all."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwise.errors import DataError
from patchwise.pictures.figure import Figure, Line, Row, Scale, Swatch, Table, Tile
from patchwise.pictures.storage import encode_png, read_figures, write_figures

HOSTILE = '<script>alert(1)</script>"\n\u202e.png'


def figure(name: str = "one") -> Figure:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tiles = (Tile(pixels, HOSTILE, "alt", coarse=True), Tile(255 - pixels, "b", "alt"))
    scale = Scale(("#000000", "#ffffff"), "0", "1", "light")
    return Figure(
        name,
        "Title",
        "caption",
        "facts",
        (Row(HOSTILE, tiles),),
        (Swatch("#123456", "x"),),
        scale,
        table=Table("head", ("a", "b"), (Line(HOSTILE, (0.1, 2 / 3)),)),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_figures([figure("one"), figure("two")], tmp_path / "pictures", source="s")
    found = read_figures(tmp_path / "pictures", source="s")
    assert found is not None
    assert [f.name for f in found] == ["one", "two"]
    for wanted, got in zip([figure("one"), figure("two")], found, strict=True):
        assert (wanted.swatches, wanted.scale, wanted.facts) == (got.swatches, got.scale, got.facts)
        assert wanted.table == got.table
        for tile, same in zip(wanted.rows[0].tiles, got.rows[0].tiles, strict=True):
            assert (tile.pixels == same.pixels).all()
            assert (tile.label, tile.alt, tile.coarse) == (same.label, same.alt, same.coarse)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 4


def test_pictures_of_something_else_are_not_taken(tmp_path: Path) -> None:
    assert read_figures(tmp_path, source="s") is None
    write_figures([figure()], tmp_path, source="s")
    assert read_figures(tmp_path, source="t") is None


def test_old_pictures_go(tmp_path: Path) -> None:
    write_figures([figure("one")], tmp_path, source="s")
    write_figures([figure("two")], tmp_path, source="t")
    assert {path.name for path in tmp_path.glob("*.png")} == {"two-1-1.png", "two-1-2.png"}


def test_a_png_is_exact() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 4, 3), dtype=np.uint8)
    assert (np.array(Image.open(io.BytesIO(encode_png(pixels)))) == pixels).all()


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["pictures.json", "one-1-1.png"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    write_figures([figure()], tmp_path, source="s")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"pictures\.json.*made anew"):
        read_figures(tmp_path, source="s")
