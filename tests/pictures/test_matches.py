"""Equal numbers show the same content, and what is told of matches is true."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from patchwise.augment.crop import patch_centres
from patchwise.configs.methods import Matching
from patchwise.ops.geometry import MATCHERS
from patchwise.pictures import matches as module
from patchwise.pictures.drawing import Pixels
from patchwise.pictures.matches import matches_figure, spread
from patchwise.pictures.views import training_views, view_figures
from tests.pictures.coordinate_images import METHOD, PLAIN, coordinate_batch


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
