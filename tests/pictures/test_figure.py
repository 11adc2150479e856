"""Every figure that the package makes has all its words."""

import dataclasses

import pytest

from patchwise.pictures.attention import attention_figure
from patchwise.pictures.clusters import clusters_figure
from patchwise.pictures.figure import Figure
from patchwise.pictures.nearest import nearest_figure
from patchwise.pictures.pca import pca_figure
from tests.pictures.galleries import gallery, seen


def all_figures() -> list[Figure]:
    shown, before, after = gallery(), seen(seed=1), seen(seed=2)
    return [
        pca_figure(shown, before, after),
        nearest_figure(shown, before, after, seed=0),
        clusters_figure(shown, before, after, seed=0),
        attention_figure(shown, before, after),
    ]


@pytest.mark.parametrize("figure", all_figures(), ids=lambda figure: figure.name)
def test_all_words_are_there(figure: Figure) -> None:
    tiles = [tile for row in figure.rows for tile in row.tiles]
    assert all([figure.title, figure.caption, figure.facts, *(row.label for row in figure.rows)])
    assert all(tile.label and len(tile.alt) > len(tile.label) for tile in tiles)
    assert gallery().origin in figure.facts
    assert figure.name.replace("-", "").isalpha()


@pytest.mark.parametrize("figure", all_figures(), ids=lambda figure: figure.name)
def test_nothing_depends_on_when_it_is_made(figure: Figure) -> None:
    again = next(f for f in all_figures() if f.name == figure.name)
    for row, same in zip(figure.rows, again.rows, strict=True):
        for tile, other in zip(row.tiles, same.tiles, strict=True):
            assert (tile.pixels == other.pixels).all()
    words = dataclasses.replace(figure, rows=()), dataclasses.replace(again, rows=())
    assert words[0] == words[1]
