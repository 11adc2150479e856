"""What is drawn of views is what training sees."""

import dataclasses
from typing import Any

import pytest
import torch

from patchwise.augment.multicrop import make_multicrop
from patchwise.augment.overlapping_views import make_overlapping_views
from patchwise.configs.methods import DINOConfig
from patchwise.configs.views import OverlappingViewsConfig
from patchwise.pictures.view_tiles import view_pixels
from patchwise.pictures.views import overlapping_views, training_views, view_figures
from tests.pictures.coordinate_images import METHOD, PLAIN, coordinate_batch

OVERLAPPING = OverlappingViewsConfig(base_px=128, global_px=64, local_px=32, local_count=3)


def test_views_are_those_of_training() -> None:
    batch = coordinate_batch()
    config = dataclasses.replace(METHOD, recolour_patches=True)
    drawn = training_views(batch, config, patch_px=8, seed=5)
    trained = make_multicrop(batch, PLAIN, patch_colour=config.patch_colour, patch_px=8, seed=5)
    for one, other in zip(drawn.pixels, trained.pixels, strict=True):
        assert torch.equal(one, other)


def test_all_views_are_shown_and_recoloured_ones_beside_them() -> None:
    batch = coordinate_batch()
    plain = view_figures(batch, ["a", "b"], METHOD, patch_px=8, seed=0, most_local=2)
    assert [figure.name for figure in plain] == ["views", "matches"]
    assert [len(row.tiles) for row in plain[0].rows] == [5, 5]
    config = dataclasses.replace(METHOD, recolour_patches=True)
    both = view_figures(batch, ["a", "b"], config, patch_px=8, seed=0, most_local=2)[0]
    assert [len(row.tiles) for row in both.rows] == [5, 5, 5, 5]
    for before, recoloured, alone in zip(
        both.rows[0].tiles[1:], both.rows[1].tiles[1:], plain[0].rows[0].tiles[1:], strict=True
    ):
        assert (before.pixels == alone.pixels).all()
        assert (before.pixels != recoloured.pixels).any()
    few = view_figures(batch, ["a", "b"], METHOD, patch_px=8, seed=0, most_local=1)[0]
    assert [len(row.tiles) for row in few.rows] == [4, 4]
    assert "Of 1 more local views only the boxes" in few.facts


@pytest.mark.parametrize(
    "config", [DINOConfig(views=PLAIN), dataclasses.replace(METHOD, matching="none")]
)
def test_a_method_that_matches_no_patches_has_no_figure_of_it(config: Any) -> None:
    figures = view_figures(coordinate_batch(), ["a", "b"], config, patch_px=8, seed=0, most_local=2)
    assert [figure.name for figure in figures] == ["views"]


def test_no_local_views_are_no_trouble() -> None:
    config = dataclasses.replace(METHOD, views=dataclasses.replace(PLAIN, local_count=0))
    figures = view_figures(coordinate_batch(), ["a", "b"], config, patch_px=8, seed=0, most_local=2)
    assert [len(figure.rows) for figure in figures] == [2, 2]


def test_overlapping_views_are_those_of_training() -> None:
    """The teacher's plain, the student's recoloured, the same places."""
    batch = coordinate_batch()
    made = make_overlapping_views(batch, OVERLAPPING, patch_px=8, seed=5)
    teacher, student = (s.views for s in overlapping_views(batch, OVERLAPPING, patch_px=8, seed=5))
    assert torch.equal(torch.cat(teacher.pixels), made.teacher)
    for one, other in zip(student.pixels, made.student.pixels, strict=True):
        assert torch.equal(one, other)
    assert [len(views.crops) for views in (teacher, student)] == [2, 5]
    for image in range(2):
        for view, crop in enumerate(teacher.crops):
            top, left, height, width = crop.boxes[image].tolist()
            shown = view_pixels(teacher, view, image).astype(float)
            assert shown[..., 0].mean() == pytest.approx(255 * (top + height / 2) / 128, abs=2)
            assert shown[..., 1].mean() == pytest.approx(255 * (left + width / 2) / 160, abs=2)


def test_a_method_of_overlapping_views_shows_those_of_teacher_and_student() -> None:
    config = DINOConfig()
    object.__setattr__(config, "views", OVERLAPPING)  # no method of such views is needed here
    figures = view_figures(coordinate_batch(), ["a", "b"], config, patch_px=8, seed=5, most_local=2)
    assert [figure.name for figure in figures] == ["views"]
    rows = figures[0].rows
    assert [row.label for row in rows] == [
        f"{name}, as the {who} sees it" for name in "ab" for who in ("teacher", "student")
    ]
    assert [len(row.tiles) for row in rows] == [3, 5, 3, 5]
    for teacher, student in zip(rows[::2], rows[1::2], strict=True):
        assert (teacher.tiles[0].pixels == student.tiles[0].pixels).all()
        assert all((teacher.tiles[t].pixels != student.tiles[t].pixels).any() for t in (1, 2))
    assert "Of 1 more local views only the boxes" in figures[0].facts
    assert "at least 2% of the image in common, and each local view at least 1%" in figures[0].facts
    assert "mirroring" not in figures[0].facts
