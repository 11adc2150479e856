"""Every figure that the package makes has all its words."""

import dataclasses

import pytest
import torch

from patchwise.pictures.attention import attention_figure
from patchwise.pictures.clusters import clusters_figure
from patchwise.pictures.correspondences import correspondences_figure
from patchwise.pictures.dispersion import dispersion_figure
from patchwise.pictures.figure import Figure, Line, Table
from patchwise.pictures.nearest import nearest_figure
from patchwise.pictures.pca import pca_figure
from patchwise.pictures.prototypes import prototype_maps_figure, prototypes_figure
from tests.pictures.galleries import gallery, seen


def all_figures() -> list[Figure]:
    shown, before, after = gallery(), seen(seed=1), seen(seed=2)
    read = torch.rand(6, 16, 9, generator=torch.Generator().manual_seed(3)).softmax(dim=-1)
    dispersion = dispersion_figure(shown, before, after)
    assert dispersion is not None
    return [
        dispersion,
        prototypes_figure(shown, read, (4, 4)),
        prototype_maps_figure(shown, read, (4, 4)),
        correspondences_figure(shown, before, after, how="How.", seed=0),
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


def test_bars_are_shares_of_the_longest() -> None:
    table = Table("", ("a", "b"), (Line("one", (0.2, 0.4)), Line("two", (0.8, 0.0))))
    assert [table.share(v) for line in table.lines for v in line.values] == [0.25, 0.5, 1, 0]
    assert Table("", ("a",), (Line("one", (0.0,)),)).share(0.0) == 0
