"""Foreground: as in the published code, and by its definition."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.foreground import foreground_cells, foreground_mask
from patchwise.ops.roi_align import roi_align

VECTORS = np.load(Path(__file__).parents[1] / "fixtures" / "cotap.npz")


def attention(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, 2, 30, generator=torch.Generator().manual_seed(seed)) ** 4


def test_masks_are_those_of_the_published_code() -> None:
    found = foreground_mask(torch.from_numpy(VECTORS["fgmask_attn"]), (14, 14))
    assert torch.equal(found, torch.from_numpy(VECTORS["fgmask_mask"]).flatten(1))


def test_all_of_the_mass_is_all_that_has_any() -> None:
    assert foreground_mask(attention() + 0.1, (5, 6), mass_frac=1.0).all()


def test_more_mass_adds_patches_and_takes_none_away() -> None:
    masks = [foreground_mask(attention(), (5, 6), mass_frac=frac) for frac in (0.1, 0.5, 0.9)]
    for less, more in itertools.pairwise(masks):
        assert (more | ~less).all()
        assert (more.sum(dim=1) > less.sum(dim=1)).all()


def test_only_proportions_count() -> None:
    weights = attention()
    assert torch.equal(foreground_mask(weights, (5, 6)), foreground_mask(0.01 * weights, (5, 6)))


def test_the_grid_says_which_patches_are_neighbours() -> None:
    weights = torch.zeros(1, 1, 30)
    weights[0, 0, 14] = 1.0  # row 2, column 2 of 5 x 6
    shown = foreground_mask(weights, (5, 6), mass_frac=0.95).nonzero()[:, 1].tolist()
    assert {14, 13, 15, 8, 20} <= set(shown)
    assert 12 not in shown


def test_nothing_seen_is_one_patch() -> None:
    assert foreground_mask(torch.zeros(2, 1, 4), (2, 2)).sum(dim=1).tolist() == [1, 1]


def test_equal_attention_is_its_share_of_the_patches() -> None:
    """Up to one patch, as sums of equal shares are rounded."""
    for images in (1, 3):
        shown = foreground_mask(torch.full((images, 2, 196), 0.3), (14, 14))
        assert all(117 <= count <= 119 for count in shown.sum(dim=1).tolist())


def test_an_image_alone_has_the_same_mask() -> None:
    weights = attention()
    alone = foreground_mask(weights[1:2], (5, 6))
    assert torch.equal(alone, foreground_mask(weights, (5, 6))[1:2])
    assert foreground_mask(torch.ones(1, 1, 1), (1, 1)).all()


def test_no_images_have_no_masks() -> None:
    assert foreground_mask(torch.zeros(0, 2, 30), (5, 6)).shape == (0, 30)


def test_half_precision_is_worked_on_in_full() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(3, 6, 196, generator=generator).bfloat16()
    wanted = foreground_mask(weights.double(), (14, 14))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(foreground_mask(weights, (14, 14)), wanted)
    assert foreground_mask(torch.zeros(1, 2, 30).bfloat16(), (5, 6)).sum() == 1


def foreground(seed: int, *, share: float = 0.8) -> torch.Tensor:
    return torch.rand(20, 9, 8, generator=torch.Generator().manual_seed(seed)) < share


def boxes_within(seed: int) -> torch.Tensor:
    unit = torch.rand(20, 4, generator=torch.Generator().manual_seed(seed)).double()
    extent = 0.3 + 0.7 * unit[:, 2:]
    side = torch.tensor([9.0, 8.0])
    return torch.cat([unit[:, :2] * (1 - extent) * side, extent * side], dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_foreground_cells_read_from_nothing_else(seed: int) -> None:
    """They do not move with the background's values, and all others do."""
    mask, boxes = foreground(seed), boxes_within(seed)
    cells = foreground_cells(mask, boxes, (4, 3))
    assert cells.any()
    assert not cells.all()
    values = torch.rand(*mask.shape, 1).double()
    moved = torch.where(mask[..., None], values, values + 1)
    before, after = (roi_align(maps, boxes, (4, 3))[..., 0] for maps in (values, moved))
    torch.testing.assert_close(before[cells], after[cells])
    assert ((after - before)[~cells] > 1e-6).all()


def test_all_is_foreground_or_nothing() -> None:
    boxes = boxes_within(0)
    assert foreground_cells(foreground(0, share=2.0), boxes, (6, 6)).all()
    assert not foreground_cells(foreground(0, share=0.0), boxes, (6, 6)).any()


def test_a_box_without_extent_has_no_cells() -> None:
    boxes = torch.tensor([[1.0, 1.0, 0.0, 3.0], [1.0, 1.0, 3.0, 0.0], [1.0, 1.0, 3.0, 3.0]])
    cells = foreground_cells(torch.ones(3, 9, 8, dtype=torch.bool), boxes, (2, 2))
    assert cells.flatten(1).all(dim=1).tolist() == [False, False, True]
    assert cells.flatten(1).any(dim=1).tolist() == [False, False, True]


@pytest.mark.bad_input
def test_what_is_no_attention_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"attention must have shape \(any, any, 20\)"):
        foreground_mask(attention(), (4, 5))
    negative = attention()
    negative[0, 0, 0] = -1.0
    with pytest.raises(RangeError, match="must be finite and not negative, got 1 of 180"):
        foreground_mask(negative, (5, 6))
    with pytest.raises(RangeError, match="mass_frac must be positive"):
        foreground_mask(attention(), (5, 6), mass_frac=0.0)
    with pytest.raises(RangeError, match="mass_frac must lie in"):
        foreground_mask(attention(), (5, 6), mass_frac=1.1)


@pytest.mark.bad_input
def test_boxes_of_other_images_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"boxes must have shape \(20, 4\), got \(19, 4\)"):
        foreground_cells(foreground(0), boxes_within(0)[1:], (6, 6))
    with pytest.raises(ShapeError, match=r"foreground must have shape \(any, any, any\)"):
        foreground_cells(foreground(0).flatten(1), boxes_within(0), (6, 6))
