"""Pictures of images beside their nearest ones."""

import numpy as np
import pytest

from patchwise.data.synthetic import Scenes
from patchwise.pictures.alike import Alike, alike_figures
from patchwise.pictures.drawing import fit

IDS = np.array([[1, 2], [0, 2], [1, 0], [1, 2], [1, 0]])
COSINES = np.array(
    [[0.9, 0.5], [0.99, 0.6], [0.7, 0.6], [0.3, 0.1], [np.nan, np.nan]], np.float32
)  # image 4 is bad
SCENES = Scenes(5)
ALIKE = Alike(SCENES, lambda index: f"scene {index}", IDS, COSINES)


def test_rows_hold_the_image_and_its_neighbours_in_order() -> None:
    drawn, *_ = alike_figures(ALIKE, rows=4, facts="By whom.")
    assert sorted(row.label for row in drawn.rows) == [f"scene {i}" for i in range(4)]
    row = next(row for row in drawn.rows if row.label == "scene 1")
    assert [tile.label for tile in row.tiles] == ["the image", "0.99", "0.60"]
    assert row.tiles[2].alt == "neighbour 2, cosine 0.60: scene 2"
    for tile, image in zip(row.tiles, (1, 0, 2), strict=True):
        assert np.array_equal(tile.pixels, fit(SCENES.read(image), 160)[0])
    assert "0.80 in the median" in drawn.caption
    assert drawn.facts.endswith("By whom.")


def test_the_nearest_and_the_loneliest_are_told() -> None:
    _, nearest, loneliest, _ = alike_figures(ALIKE, rows=2, facts="")
    assert [row.label for row in nearest.rows] == ["scene 1", "scene 0"]
    assert [row.label for row in loneliest.rows] == ["scene 3", "scene 2"]


def test_the_most_chosen_are_counted_without_bad_images() -> None:
    *_, hubs = alike_figures(ALIKE, rows=3, facts="")
    assert [(tile.label, tile.alt) for tile in hubs.rows[0].tiles] == [
        ("of 3 images", "scene 1"),
        ("of 3 images", "scene 2"),
        ("of 2 images", "scene 0"),
    ]
    assert "1 of 4 images are of none" in hubs.caption  # number 3


@pytest.mark.parametrize("seed", range(3))
def test_bad_images_are_never_shown_and_names_differ(seed: int) -> None:
    figures = alike_figures(ALIKE, rows=9, facts="", seed=seed)
    assert len({figure.name for figure in figures}) == len(figures) == 4
    assert not [row for figure in figures for row in figure.rows if row.label == "scene 4"]


def test_the_draw_is_of_the_seed() -> None:
    def drawn(seed: int) -> list[str]:
        return [row.label for row in alike_figures(ALIKE, rows=4, facts="", seed=seed)[0].rows]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(6)}) > 1
