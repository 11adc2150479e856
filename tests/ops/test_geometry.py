"""Pairs of patches: the authors' cases, a reference in plain loops, and what any pairing obeys."""

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwise.augment.crop import Crops, apply_crops, patch_centres
from patchwise.errors import PatchwiseError, RangeError, ShapeError
from patchwise.ops.geometry import (
    MATCHERS,
    Grid,
    PatchMatches,
    match_distance,
    match_nearest_patches,
    match_patches,
)

FIXTURE = Path(__file__).parents[1] / "fixtures" / "patch_matching.npz"
Pairs = list[tuple[int, int]]
View = tuple[tuple[int, int, int, int], bool, tuple[int, int]]  # box, flip, grid


def spread(indices: list[int], count: int) -> list[int]:
    """Thin a list to ``count`` of its entries, the first and last among them."""
    if count == 1:
        return indices[:1]
    return [indices[i * (len(indices) - 1) // (count - 1)] for i in range(count)]


def covered(start: int, length: int, overlap: tuple[int, int], patches: int) -> list[int]:
    first = round(patches * ((overlap[0] - start) / length))
    count = round(patches * ((overlap[1] - overlap[0]) / length))
    return [index for index in range(first, first + count) if index < patches]


def reference_pairs(a: View, b: View) -> Pairs:
    """The rule again, one image and one axis at a time."""
    axes: list[list[list[int]]] = []
    for axis in (0, 1):
        start = max(view[0][axis] for view in (a, b))
        end = min(view[0][axis] + view[0][axis + 2] for view in (a, b))
        if end <= start:
            return []
        both = []
        for box, flip, grid in (a, b):
            indices = covered(box[axis], box[axis + 2], (start, end), grid[axis])
            if axis == 1 and flip:
                indices = [grid[1] - 1 - index for index in indices]
            both.append(indices)
        shorter = min(map(len, both))
        if shorter == 0:
            return []
        axes.append([spread(indices, shorter) for indices in both])
    rows, columns = axes
    return [
        (1 + row_a * a[2][1] + column_a, 1 + row_b * b[2][1] + column_b)
        for row_a, row_b in zip(*rows, strict=True)
        for column_a, column_b in zip(*columns, strict=True)
    ]


def pairs_of(matches: PatchMatches, image: int) -> Pairs:
    valid = matches.valid[image]
    assert not matches.index_a[image, ~valid].any()
    assert not matches.index_b[image, ~valid].any()
    indices = matches.index_a[image, valid].tolist(), matches.index_b[image, valid].tolist()
    return list(zip(*indices, strict=True))


def match(a: list[View], b: list[View], matching: str = "thinned") -> PatchMatches:
    """Match a batch of views whose grids are alike."""
    return MATCHERS[matching](
        torch.tensor([view[0] for view in a]),
        torch.tensor([view[1] for view in a]),
        a[0][2],
        torch.tensor([view[0] for view in b]),
        torch.tensor([view[1] for view in b]),
        b[0][2],
    )


def random_view(rng: random.Random, grid: tuple[int, int], image_px: int) -> View:
    height, width = rng.randint(1, image_px), rng.randint(1, image_px)
    top, left = rng.randint(0, image_px - height), rng.randint(0, image_px - width)
    return (top, left, height, width), rng.random() < 0.5, grid


def test_the_authors_pairs_come_out() -> None:
    """All 540 published cases, batched by the grids they have in common."""
    with np.load(FIXTURE) as fixture:
        cases, all_pairs = fixture["cases"].astype(np.int64), fixture["pairs"]
    ends = cases[:, 13].cumsum()
    grids = np.stack([cases[:, 5], cases[:, 11]], axis=1) // cases[:, 12:13]
    compared = 0
    for grid in np.unique(grids, axis=0):
        chosen = np.flatnonzero((grids == grid).all(axis=1))
        view_a, view_b = (torch.from_numpy(cases[chosen, at : at + 5]) for at in (0, 6))
        matches = match_patches(
            view_a[:, :4],
            view_a[:, 4].bool(),
            int(grid[0]),
            view_b[:, :4],
            view_b[:, 4].bool(),
            int(grid[1]),
        )
        for image, case in enumerate(chosen):
            expected = all_pairs[ends[case] - cases[case, 13] : ends[case]].tolist()
            assert [[0, 0], *map(list, pairs_of(matches, image))] == expected
            compared += 1
    assert compared == len(cases) == 540


@pytest.mark.parametrize("image_px", [9, 40, 256])
@pytest.mark.parametrize(
    "grids", [((14, 14), (6, 6)), ((8, 8), (8, 8)), ((3, 7), (5, 2)), ((1, 1), (4, 9))]
)
def test_equals_the_plain_loops(
    grids: tuple[tuple[int, int], tuple[int, int]], image_px: int
) -> None:
    rng = random.Random(image_px)
    a, b = ([random_view(rng, grid, image_px) for _ in range(400)] for grid in grids)
    matches = match(a, b)
    assert matches.valid.shape[1] == min(grids[0][0], grids[1][0]) * min(grids[0][1], grids[1][1])
    for image, views in enumerate(zip(a, b, strict=True)):
        assert pairs_of(matches, image) == reference_pairs(*views)


def test_a_flipped_range_that_reaches_beyond_the_grid_is_cut() -> None:
    """View a: first = round(3 * 5 / 10) = 2, count = round(3 * 5 / 10) = 2, so 2 and 3 of 0..2.

    View b: first = 0, count = round(3 * 5 / 10) = 2. Mirrored, a's column 2 is 0.
    """
    a: View = ((0, 0, 8, 10), True, (1, 3))
    b: View = ((0, 5, 8, 10), False, (1, 3))
    assert pairs_of(match([a], [b]), 0) == [(1, 1)]
    unflipped: View = (a[0], False, a[2])
    assert pairs_of(match([unflipped], [b]), 0) == [(3, 1)]


def test_halves_are_rounded_to_even() -> None:
    """6 * 5 / 20 = 1.5 gives 2, 6 * 15 / 20 = 4.5 gives 4: columns 2 to 5, mirrored 3 to 0."""
    a: View = ((0, 0, 8, 20), True, (1, 6))
    b: View = ((0, 5, 8, 20), False, (1, 6))
    assert pairs_of(match([a], [b]), 0) == [(4, 1), (3, 2), (2, 3), (1, 4)]


def test_the_division_comes_first_and_in_float64() -> None:
    """28 * (29 / 56) is 14.500000000000002 in float64, and 14.5 otherwise: 15, not 14."""
    a: View = ((0, 0, 8, 56), False, (1, 28))
    b: View = ((0, 29, 8, 56), False, (1, 28))
    pairs = pairs_of(match([a], [b]), 0)
    assert [pair[0] for pair in pairs] == list(range(16, 29))
    assert pairs == reference_pairs(a, b)


def beyond_the_grid() -> list[tuple[View, View]]:
    """Random views of which one is flipped and whose rounded range ends beyond the grid."""
    rng = random.Random(0)
    found: list[tuple[View, View]] = []
    while len(found) < 50:
        a, b = (random_view(rng, (3, 3), 60) for _ in range(2))
        box, flip, _ = a
        start, end = max(box[1], b[0][1]), min(box[1] + box[3], b[0][1] + b[0][3])
        if not flip or end <= start:
            continue
        last = round(3 * ((start - box[1]) / box[3])) + round(3 * ((end - start) / box[3]))
        if last > 3 and reference_pairs(a, b):
            found.append((a, b))
    return found


def test_the_cut_keeps_the_cells_that_exist() -> None:
    cases = beyond_the_grid()
    matches = match([a for a, _ in cases], [b for _, b in cases])
    for image, (a, b) in enumerate(cases):
        pairs = pairs_of(matches, image)
        assert pairs == reference_pairs(a, b)
        assert pairs, "pairs must be left"
        assert all(1 <= index <= 9 for pair in pairs for index in pair)


@pytest.mark.parametrize("matching", MATCHERS)
@pytest.mark.parametrize("flip", [False, True])
def test_a_view_matches_itself_patch_by_patch(flip: bool, matching: str) -> None:
    view: View = ((3, 5, 70, 31), flip, (4, 6))
    assert pairs_of(match([view], [view], matching), 0) == [
        (index, index)
        for row in range(4)
        for index in (range(row * 6 + 6, row * 6, -1) if flip else range(row * 6 + 1, row * 6 + 7))
    ]


def test_swapping_the_views_swaps_the_pairs() -> None:
    rng = random.Random(1)
    a, b = ([random_view(rng, grid, 64) for _ in range(200)] for grid in ((8, 8), (4, 5)))
    there, back = match(a, b), match(b, a)
    for image in range(200):
        swapped = [(index_a, index_b) for index_b, index_a in pairs_of(back, image)]
        assert pairs_of(there, image) == swapped


def test_paired_patches_show_nearly_the_same_place() -> None:
    """A coarse bound: rounding start and count, and thinning, cost half a patch of each view."""
    rng = random.Random(2)
    a, b = ([random_view(rng, grid, 200) for _ in range(300)] for grid in ((14, 14), (6, 6)))
    matches = match(a, b)
    for image, views in enumerate(zip(a, b, strict=True)):
        for pair in pairs_of(matches, image):
            centres, reach = [], np.zeros(2)
            for (box, flip, grid), index in zip(views, pair, strict=True):
                row, column = divmod(index - 1, grid[1])
                column = grid[1] - 1 - column if flip else column
                cell = np.array([box[2] / grid[0], box[3] / grid[1]])
                centres.append(np.array(box[:2]) + (np.array([row, column]) + 0.5) * cell)
                reach += 1.5 * cell
            assert (abs(centres[0] - centres[1]) <= reach + 1e-9).all()


@pytest.mark.parametrize("matching", MATCHERS)
def test_boxes_that_touch_or_lie_apart_have_no_pairs(matching: str) -> None:
    a: View = ((0, 0, 10, 10), False, (4, 4))
    for corner in ((0, 10), (10, 0), (30, 30)):
        b: View = ((*corner, 10, 10), False, (4, 4))
        matches = match([a], [b], matching)
        assert not matches.valid.any()
        assert not matches.index_a.any()


def centres_in_image(view: View) -> list[tuple[int, Fraction, Fraction]]:
    """1-based index and exact centre of each patch, in the image's reading order."""
    (top, left, height, width), flip, (rows, columns) = view
    return [
        (
            1 + row * columns + (columns - 1 - column if flip else column),
            top + Fraction((2 * row + 1) * height, 2 * rows),
            left + Fraction((2 * column + 1) * width, 2 * columns),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def nearest_pairs(a: View, b: View) -> Pairs:
    """For each patch of b, look at all patches of a."""
    half = Fraction(a[0][2], 2 * a[2][0]), Fraction(a[0][3], 2 * a[2][1])
    pairs = []
    for index_b, y_b, x_b in centres_in_image(b):
        candidates = centres_in_image(a)
        inside = [
            (index, (y_b - y) ** 2 + (x_b - x) ** 2)
            for index, y, x in candidates
            if -half[0] <= y_b - y < half[0] and -half[1] <= x_b - x < half[1]
        ]
        assert len(inside) <= 1
        for index_a, square in inside:
            assert square == min((y_b - y) ** 2 + (x_b - x) ** 2 for _, y, x in candidates)
            pairs.append((index_a, index_b))
    return pairs


@pytest.mark.parametrize("image_px", [9, 40, 256])
@pytest.mark.parametrize(
    "grids", [((7, 7), (4, 4)), ((4, 4), (7, 7)), ((3, 7), (5, 2)), ((1, 1), (4, 9))]
)
def test_nearest_equals_a_search_through_all_pairs(
    grids: tuple[tuple[int, int], tuple[int, int]], image_px: int
) -> None:
    rng = random.Random(image_px)
    a, b = ([random_view(rng, grid, image_px) for _ in range(25)] for grid in grids)
    matches = match(a, b, "nearest")
    assert matches.valid.shape == (25, grids[1][0] * grids[1][1])
    for image, views in enumerate(zip(a, b, strict=True)):
        assert pairs_of(matches, image) == nearest_pairs(*views)


def test_a_centre_on_a_border_belongs_to_the_lower_right_patch_of_the_image() -> None:
    """The only patch of b has its centre in the middle of a; mirroring a changes the index."""
    b: View = ((1, 1, 2, 2), False, (1, 1))
    for flip, index in {False: 4, True: 3}.items():
        a: View = ((0, 0, 4, 4), flip, (2, 2))
        assert pairs_of(match([a], [b], "nearest"), 0) == [(index, 1)]


def test_a_magnified_view_has_several_patches_in_one_of_the_other() -> None:
    a: View = ((0, 0, 80, 80), False, (2, 2))
    b: View = ((0, 0, 40, 40), True, (3, 3))
    pairs = pairs_of(match([a], [b], "nearest"), 0)
    assert pairs == [(1, index) for index in (3, 2, 1, 6, 5, 4, 9, 8, 7)]
    assert pairs_of(match([b], [a], "nearest"), 0) == [(5, 1)]


def crops_of(views: list[View]) -> Crops:
    return Crops(torch.tensor([v[0] for v in views]), torch.tensor([v[1] for v in views]))


def distance(matches: PatchMatches, a: list[View], b: list[View]) -> torch.Tensor:
    one, other = crops_of(a), crops_of(b)
    grids = a[0][2], b[0][2]
    return match_distance(matches, (one.boxes, other.boxes), (one.flip, other.flip), grids)


@pytest.mark.parametrize("matching", MATCHERS)
def test_the_distance_is_that_of_the_patches_centres(matching: str) -> None:
    rng = random.Random(3)
    a, b = ([random_view(rng, grid, 100) for _ in range(50)] for grid in ((5, 9), (4, 3)))
    matches = match(a, b, matching)
    found = distance(matches, a, b)
    centres = [
        patch_centres(crops_of(views), views[0][2]).flatten(1, 2)  # [B, N, 2]
        for views in (a, b)
    ]
    assert matches.valid.any()
    for image, (box, _, grid) in enumerate(a):
        valid = matches.valid[image]
        patch = torch.tensor([box[2] / grid[0], box[3] / grid[1]])
        apart = (
            centres[0][image][matches.index_a[image, valid] - 1]
            - centres[1][image][matches.index_b[image, valid] - 1]
        )
        torch.testing.assert_close(found[image, valid], apart.abs() / patch)
        assert not found[image, ~valid].any()


@pytest.mark.parametrize("grids", [((14, 14), (6, 6)), ((3, 5), (8, 2))])
def test_nearest_partners_are_at_most_half_a_patch_apart(
    grids: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    rng = random.Random(4)
    a, b = ([random_view(rng, grid, 200) for _ in range(300)] for grid in grids)
    found = distance(match(a, b, "nearest"), a, b)
    assert 0.4 < float(found.max()) <= 0.5 + 1e-5
    assert float(distance(match(a, b), a, b).max()) > 0.5, "rounding and thinning do worse"


def test_a_coordinate_image_shows_nearest_partners_to_be_near() -> None:
    """Each pixel holds its own place; the mean of a patch is its centre."""
    side = 64
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    pixels = torch.stack([4 * y, 4 * x, 0 * x]).floor().to(torch.uint8)[None].expand(40, -1, -1, -1)
    rng = random.Random(5)
    a, b = (
        [view for view in many if min(view[0][2:]) >= 16][:40]
        for many in (
            [random_view(rng, grid, side) for _ in range(200)] for grid in ((4, 4), (3, 3))
        )
    )
    seen = [
        64 * torch.nn.functional.avg_pool2d(
            apply_crops(
                pixels, torch.full((40, 2), side), crops_of(views), size_px=8 * views[0][2][0]
            ),
            8,
        )[:, :2].flatten(2).mT
        for views in (a, b)
    ]  # fmt: skip
    matches = match(a, b, "nearest")
    assert matches.valid.sum() > 40
    for image, (box, _, grid) in enumerate(a):
        for index_a, index_b in pairs_of(matches, image):
            apart = (seen[0][image, index_a - 1] - seen[1][image, index_b - 1]).abs()
            half = torch.tensor([box[2] / grid[0] / 2, box[3] / grid[1] / 2])
            assert (apart <= half + 1).all(), "a pixel for bytes and the filter's edges"


@pytest.mark.parametrize("matching", MATCHERS)
def test_nothing_waits_for_the_device(matching: str) -> None:
    """Values of meta tensors cannot be asked for."""
    with torch.device("meta"):
        boxes, flip = torch.zeros(5, 4, dtype=torch.int64), torch.zeros(5, dtype=torch.bool)
        matches = MATCHERS[matching](boxes, flip, 4, boxes, flip, (2, 3))
        assert matches.valid.shape == (5, 6)
        apart = match_distance(matches, (boxes, boxes), (flip, flip), (4, (2, 3)))
        assert apart.shape == (5, 6, 2)


@pytest.mark.parametrize("matching", MATCHERS)
def test_small_whole_numbers_do_not_overflow(matching: str) -> None:
    views = [torch.tensor([[0, 0, 6000, 5000]]), torch.tensor([[2900, 2800, 3000, 4000]])]
    flip = torch.tensor([True])
    wide = MATCHERS[matching](views[0], flip, 14, views[1], flip, 6)
    small = [view.to(torch.int16) for view in views]
    narrow = MATCHERS[matching](small[0], flip, 14, small[1], flip, 6)
    assert pairs_of(narrow, 0) == pairs_of(wide, 0)


def test_moving_keeps_everything() -> None:
    view: View = ((0, 0, 4, 4), False, (2, 2))
    matches = match([view], [view])
    moved = matches.to(torch.device("cpu"))
    assert pairs_of(moved, 0) == pairs_of(matches, 0) == [(1, 1), (2, 2), (3, 3), (4, 4)]


BOX = torch.tensor([[0, 0, 4, 4]])
FLIP = torch.tensor([False])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("boxes_b", "flip_b", "grid_b", "error", "message"),
    [
        (BOX.repeat(2, 1), FLIP, 2, ShapeError, r"boxes_b must have shape \(1, 4\), got \(2, 4\)"),
        (BOX, FLIP.repeat(2), 2, ShapeError, r"flip_b must have shape \(1\), got \(2,\)"),
        (BOX.float(), FLIP, 2, ShapeError, r"boxes_b must be whole pixels, got torch.float32"),
        (BOX * 0, FLIP, 2, RangeError, "boxes_b must be at least 1 pixel high and wide, got 0"),
        (BOX, FLIP, (2, 0), RangeError, "grid_columns must be positive, got 0"),
    ],
)
def test_wrong_views_are_named(
    boxes_b: torch.Tensor,
    flip_b: torch.Tensor,
    grid_b: Grid,
    error: type[PatchwiseError],
    message: str,
) -> None:
    with pytest.raises(error, match=f"^match_patches: {message}"):
        match_patches(BOX, FLIP, 2, boxes_b, flip_b, grid_b)


@pytest.mark.bad_input
def test_a_box_of_another_shape_is_named() -> None:
    with pytest.raises(ShapeError, match=r"boxes_a must have shape \(any, 4\), got \(1, 3\)"):
        match_patches(BOX[:, :3], FLIP, 2, BOX, FLIP, 2)


@pytest.mark.bad_input
def test_the_other_matcher_and_the_distance_name_themselves() -> None:
    with pytest.raises(RangeError, match=r"^match_nearest_patches: boxes_a must be at least 1"):
        match_nearest_patches(BOX * 0, FLIP, 2, BOX, FLIP, 2)
    with pytest.raises(RangeError, match=r"^match_nearest_patches: grid_rows must be positive"):
        match_nearest_patches(BOX, FLIP, 0, BOX, FLIP, 2)
    matches = match_patches(BOX, FLIP, 2, BOX, FLIP, 2)
    with pytest.raises(RangeError, match=r"^match_distance: grid_rows must be positive"):
        match_distance(matches, (BOX, BOX), (FLIP, FLIP), (0, 2))
