"""What is drawn of views is what training sees; equal numbers show the same content."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from patchwise.augment.crop import patch_centres
from patchwise.augment.multicrop import make_multicrop
from patchwise.configs.methods import DINOConfig, Matching, PWSelfConfig
from patchwise.configs.views import ViewsConfig
from patchwise.ops.geometry import MATCHERS
from patchwise.pictures import views as module
from patchwise.pictures.drawing import Pixels
from patchwise.pictures.views import (
    matches_figure,
    spread,
    training_views,
    view_figures,
    view_name,
    view_pixels,
)
from patchwise.types import ImageBatch

PLAIN = ViewsConfig(
    base_px=128, global_px=64, local_px=32, local_count=2, jitter_prob=0, grayscale_prob=0,
    blur_probs=(0, 0, 0), solarise_probs=(0, 0, 0),
)  # fmt: skip
METHOD = PWSelfConfig(views=PLAIN, recolour_patches=False)


def coordinate_batch() -> ImageBatch:
    """Images whose red and green are each pixel's own (y, x), as shares of the image."""
    height, width = 128, 160
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([255 * y / height, 255 * x / width, torch.zeros(height, width)])
    pixels = pixels.round().to(torch.uint8).expand(2, -1, -1, -1).contiguous()
    return ImageBatch(pixels, torch.tensor([[height, width]] * 2), torch.tensor([3, 8]), 0)


def test_views_are_those_of_training() -> None:
    batch = coordinate_batch()
    config = dataclasses.replace(METHOD, recolour_patches=True)
    drawn = training_views(batch, config, patch_px=8, seed=5)
    trained = make_multicrop(batch, PLAIN, patch_colour=config.patch_colour, patch_px=8, seed=5)
    for one, other in zip(drawn.pixels, trained.pixels, strict=True):
        assert torch.equal(one, other)


def test_view_pixels_undo_the_normalisation() -> None:
    batch = coordinate_batch()
    drawn = training_views(batch, METHOD, patch_px=8, seed=0)
    for image in range(2):
        for view, crop in enumerate(drawn.crops):
            top, left, height, width = crop.boxes[image].tolist()
            shown = view_pixels(drawn, view, image).astype(float)
            assert shown[..., 0].mean() == pytest.approx(255 * (top + height / 2) / 128, abs=2)
            assert shown[..., 1].mean() == pytest.approx(255 * (left + width / 2) / 160, abs=2)


@pytest.mark.parametrize("matching", ["thinned", "nearest"])
@pytest.mark.parametrize("seed", range(8))
def test_equal_numbers_show_the_same_content(
    seed: int, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask a coordinate image at the very places where the numbers are drawn."""
    asked: list[tuple[int, np.ndarray]] = []

    def look(pixels: Pixels, number: int, at: tuple[float, float], size_px: int) -> Pixels:
        content = pixels[min(int(at[0]), len(pixels) - 1), min(int(at[1]), pixels.shape[1] - 1)]
        asked.append((number, content[:2] / 255))
        return pixels

    monkeypatch.setattr(module, "_number", look)
    monkeypatch.setattr(module, "frame", lambda pixels, *_, **__: pixels)
    batch = coordinate_batch()
    drawn = training_views(batch, METHOD, patch_px=8, seed=seed)
    matches_figure(batch, ["a", "b"], drawn, matching)
    starts = [i for i, (number, _) in enumerate(asked) if number == 0] + [len(asked)]
    tiles = [asked[a:b] for a, b in itertools.pairwise(starts)]
    assert len(tiles) % 3 == 0
    for place, teacher, student in zip(tiles[::3], tiles[1::3], tiles[2::3], strict=True):
        for (n, where), (m, in_teacher), (k, in_student) in zip(
            place, teacher, student, strict=True
        ):
            assert n == m == k
            assert np.abs(where - in_teacher).max() < 0.02
            # A patch of a global view is at most an eighth of the image; thinning may miss by one.
            most = {"thinned": 0.125 * 1.3, "nearest": 0.125 / 2 + 0.02}[matching]
            assert np.abs(in_teacher - in_student).max() < most


def test_the_distance_of_partners_is_told() -> None:
    """Equal views match without any; the caption says what was found, not what one would wish."""
    views = dataclasses.replace(PLAIN, global_area_frac=(1, 1), aspect=(1.25, 1.25), local_count=0)
    config = dataclasses.replace(METHOD, views=views)
    equal = view_figures(coordinate_batch(), ["a", "b"], config, patch_px=8, seed=0, most_local=2)[
        1
    ]
    assert "0.00 of the width of a teacher's patch apart on average, at most 0.00" in equal.facts
    other = view_figures(coordinate_batch(), ["a", "b"], METHOD, patch_px=8, seed=0, most_local=2)[
        1
    ]
    assert "at most 0.00" not in other.facts


@pytest.mark.parametrize("matching", ["thinned", "nearest"])
def test_rule_number_and_distance_of_the_runs_pairs_are_told(matching: Matching) -> None:
    """Every pair again; distances in patches of the teacher, the larger of down and across."""
    drawn = training_views(coordinate_batch(), METHOD, patch_px=8, seed=0)
    facts = matches_figure(coordinate_batch(), ["a", "b"], drawn, matching).facts
    rule = {"thinned": "in whole patches", "nearest": "the teacher's that its centre lies in"}
    assert [name for name, words in rule.items() if words in facts] == [matching]
    counts, distances = [], []
    for image in range(2):
        for view in (1, 2):
            a, b = drawn.crops[0], drawn.crops[view]
            grids = drawn.grids[0], drawn.grids[view]
            found = MATCHERS[matching](a.boxes, a.flip, grids[0], b.boxes, b.flip, grids[1])
            valid = found.valid[image]
            counts.append(f"{int(valid.sum())} of {64 if view == 1 else 16}")
            centres = [
                patch_centres(crop, g).flatten(1, 2)[image]
                for crop, g in zip((a, b), grids, strict=True)
            ]
            apart = (
                centres[0][found.index_a[image, valid] - 1]
                - centres[1][found.index_b[image, valid] - 1]
            )
            distances.append((apart.abs() * 8 / a.boxes[image, 2:]).amax(dim=1))
    assert f"row by row: {', '.join(counts)} patches of the student's view" in facts
    mean, most = float(torch.cat(distances).mean()), float(torch.cat(distances).max())
    assert f"are {mean:.2f} of the width of a teacher's patch apart" in facts
    assert f"at most {most:.2f}." in facts


def test_numbers_lie_apart() -> None:
    points = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    chosen = spread(points, 9)
    assert len(set(chosen.tolist())) == 9
    assert chosen.tolist() == sorted(chosen.tolist())
    assert float(torch.pdist(points[chosen]).min()) > 0.2
    assert spread(points[:4], 9).tolist() == [0, 1, 2, 3]
    assert spread(points[[2, 2, 0, 2]], 9).tolist() == [0, 2], "no place gets two numbers"
    assert spread(points[:0], 9).tolist() == []


def test_names() -> None:
    assert [view_name(v) for v in range(4)] == ["global 1", "global 2", "local 1", "local 2"]


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
