"""Overlaps of crops: by the pixels that they share, and by maps that know where they are."""

import pytest
import torch
from torch import Tensor

from patchwise.augment.crop import Crops, patch_centres
from patchwise.errors import RangeError, ShapeError
from patchwise.ops.overlap import overlap_boxes
from patchwise.ops.roi_align import roi_align

SEEDS = range(5)
IMAGES, SIDE_PX = 40, 60


def random_boxes(seed: int, *, least_px: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(2):
        size = torch.randint(least_px, SIDE_PX - 5, (IMAGES, 2), generator=generator)
        corner = (torch.rand(IMAGES, 2, generator=generator) * (SIDE_PX - size + 1)).long()
        drawn.append(torch.cat([corner, size], dim=1))
    return drawn[0], drawn[1]


def pixels_of(box: Tensor) -> set[tuple[int, int]]:
    top, left, height, width = box.tolist()
    return {(y, x) for y in range(top, top + height) for x in range(left, left + width)}


@pytest.mark.parametrize("seed", SEEDS)
def test_it_holds_the_pixels_that_both_crops_hold(seed: int) -> None:
    """Crops resized to their own size: the unit is the image's pixel."""
    for box_a, box_b in zip(*random_boxes(seed), strict=True):
        found = overlap_boxes(
            box_a[None],
            box_b[None],
            size_a=(int(box_a[2]), int(box_a[3])),
            size_b=(int(box_b[2]), int(box_b[3])),
        )
        shared = pixels_of(box_a) & pixels_of(box_b)
        for own, overlap in zip((box_a, box_b), found, strict=True):
            box = overlap[0].clone()
            box[:2] += own[:2]
            if shared:
                assert pixels_of(box.round().long()) == shared
                torch.testing.assert_close(box, box.round())
            else:
                assert (overlap[0, 2:] == 0).any()


def test_equal_crops_share_all_of_both() -> None:
    boxes, _ = random_boxes(0)
    a, b = overlap_boxes(boxes, boxes, size_a=(14, 10), size_b=(6, 3))
    torch.testing.assert_close(a, torch.tensor([0.0, 0, 14, 10]).double().expand(IMAGES, 4))
    torch.testing.assert_close(b, torch.tensor([0.0, 0, 6, 3]).double().expand(IMAGES, 4))


def test_a_crop_inside_another_is_read_as_it_is() -> None:
    """Of whatever height and width: a rounded 6 would have two points a cell, and be smoothed."""
    side = torch.arange(16, 500)
    inner = torch.stack([side % 7, side % 11, side, side.flip(0)], dim=1)
    outer = torch.tensor([0, 0, 600, 600]).expand(len(side), 4)
    region, _ = overlap_boxes(inner, outer, size_a=(6, 6), size_b=(14, 14))
    assert region.tolist() == [[0, 0, 6, 6]] * len(side)
    maps = torch.rand(len(side), 6, 6, 1, generator=torch.Generator().manual_seed(0))
    assert roi_align(maps, region, (6, 6)).equal(maps)


def test_the_order_of_crops_is_that_of_the_answer() -> None:
    boxes_a, boxes_b = random_boxes(1)
    a, b = overlap_boxes(boxes_a, boxes_b, size_a=(14, 10), size_b=(6, 3))
    other_b, other_a = overlap_boxes(boxes_b, boxes_a, size_a=(6, 3), size_b=(14, 10))
    assert torch.equal(a, other_a)
    assert torch.equal(b, other_b)


@pytest.mark.parametrize("seed", SEEDS)
def test_aligned_cells_of_both_crops_show_the_same_place(seed: int) -> None:
    """Ask maps of places: both crops read the same from each cell."""
    boxes_a, boxes_b = random_boxes(seed, least_px=40)
    grids = (20, 16), (12, 24)
    unflipped = torch.zeros(IMAGES, dtype=torch.bool)
    regions = overlap_boxes(boxes_a, boxes_b, size_a=grids[0], size_b=grids[1])
    read = [
        roi_align(patch_centres(Crops(boxes, unflipped), grid), region, (6, 6))
        for boxes, grid, region in zip((boxes_a, boxes_b), grids, regions, strict=True)
    ]
    inner = [cells[:, 1:-1, 1:-1].double() for cells in read]  # the outermost end at the border
    corner = torch.maximum(boxes_a[:, :2], boxes_b[:, :2]).double()
    end = torch.minimum(boxes_a[:, :2] + boxes_a[:, 2:], boxes_b[:, :2] + boxes_b[:, 2:])
    step = (end - corner) / 6
    number = torch.arange(1.5, 5)
    y, x = (corner[:, i, None] + step[:, i, None] * number for i in (0, 1))
    shape = (-1, 4, 4)
    wanted = torch.stack([y[:, :, None].expand(shape), x[:, None].expand(shape)], dim=-1)
    for cells in inner:
        torch.testing.assert_close(cells, wanted, rtol=0, atol=1e-3)


@pytest.mark.bad_input
def test_boxes_of_different_images_are_refused() -> None:
    boxes_a, boxes_b = random_boxes(0)
    with pytest.raises(ShapeError, match=r"boxes_b must have shape \(40, 4\), got \(39, 4\)"):
        overlap_boxes(boxes_a, boxes_b[1:], size_a=(14, 14), size_b=(6, 6))
    with pytest.raises(RangeError, match="columns_b must be positive, got 0"):
        overlap_boxes(boxes_a, boxes_b, size_a=(14, 14), size_b=(6, 0))
    boxes_b[7, 3] = 0
    with pytest.raises(RangeError, match=r"^overlap_boxes: extent_b must be positive, got 0"):
        overlap_boxes(boxes_a, boxes_b, size_a=(14, 14), size_b=(6, 6))
    with pytest.raises(RangeError, match=r"^overlap_boxes: extent_a must be positive, got 0"):
        overlap_boxes(boxes_b, boxes_a, size_a=(14, 14), size_b=(6, 6))


def test_no_images_have_no_boxes() -> None:
    none = torch.zeros(0, 4, dtype=torch.int64)
    for boxes in overlap_boxes(none, none, size_a=(14, 14), size_b=(6, 6)):
        assert boxes.shape == (0, 4)
