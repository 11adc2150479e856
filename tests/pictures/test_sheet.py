"""A sheet holds all images and all words."""

import numpy as np

from patchwise.pictures.figure import Figure, Line, Row, Table, Tile
from patchwise.pictures.sheet import draw_sheet

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)]


def figure(caption: str = "caption") -> Figure:
    tiles = tuple(Tile(np.full((20, 30, 3), c, dtype=np.uint8), "t", "alt") for c in COLOURS)
    return Figure("name", "Title", caption, "facts", (Row("row", tiles),))


def test_all_images_are_there_in_their_aspect() -> None:
    sheet = draw_sheet([figure()], tile_px=60, columns=3)
    for colour in COLOURS:
        at = np.argwhere((sheet == colour).all(axis=2))
        assert (np.ptp(at, axis=0) + 1).tolist() == [40, 60]


def test_words_are_drawn_and_wrapped() -> None:
    short, long = draw_sheet([figure()]), draw_sheet([figure("many words " * 100)])
    assert len(long) > len(short)
    assert long.shape[1] == short.shape[1]
    assert (draw_sheet([figure("a")]) != draw_sheet([figure("b")])).any()


def test_tables_are_there_as_words() -> None:
    def sheet(*values: float) -> np.ndarray:
        table = Table("head", ("a", "b"), (Line("one", values), Line("two", (0.5, 0.5))))
        return draw_sheet([Figure("name", "Title", "caption", "facts", (), table=table)])

    assert len(sheet(0.1, 0.2)) > len(draw_sheet([Figure("name", "Title", "caption", "f", ())]))
    assert (sheet(0.1, 0.2) != sheet(0.1, 0.3)).any()
    assert (sheet(0.1, 0.2) != sheet(0.3, 0.2)).any()
