"""ROI alignment: by its definition, by torchvision, and by maps that know where they are."""

import inspect
import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.roi_align import roi_align

SEEDS = range(6)
OPERATOR = hasattr(torch.ops.torchvision, "roi_align")  # tests/conftest.py loads it if it can be


def random_case(seed: int, *, inside: bool = False) -> tuple[Tensor, Tensor]:
    """Maps of 7 x 9 pixels, and boxes that may lie beyond them, or hardly be there at all."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(4, 7, 9, 3, generator=generator, dtype=torch.float64)
    unit = torch.rand(4, 4, generator=generator, dtype=torch.float64)
    side = torch.tensor([7.0, 9.0], dtype=torch.float64)
    if inside:
        extent = unit[:, 2:] * side
        return maps, torch.cat([unit[:, :2] * (side - extent), extent], dim=1)
    return maps, torch.cat([unit[:, :2] * (side + 4) - 3, unit[:, 2:] * side * 1.2], dim=1)


def value_at(image: Tensor, y: float, x: float) -> Tensor:
    """Bilinear between the centres of pixels; y and x are 0 at the first centre."""
    rows, columns = image.shape[:2]
    if not (-1 <= y <= rows and -1 <= x <= columns):
        return torch.zeros_like(image[0, 0])
    y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), columns - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    down, across = y - top, x - left
    upper = (1 - across) * image[top, left] + across * image[top, right]
    lower = (1 - across) * image[bottom, left] + across * image[bottom, right]
    return (1 - down) * upper + down * lower


def slow_reference(
    maps: Tensor, boxes: Tensor, size: tuple[int, int], samples: int | None
) -> Tensor:
    """One cell and one point at a time."""
    result = maps.new_zeros(len(maps), *size, maps.shape[3])
    for number, (image, box) in enumerate(zip(maps, boxes.tolist(), strict=True)):
        top, left, height, width = box
        cell_h, cell_w = height / size[0], width / size[1]
        points_y = samples or math.ceil(cell_h)
        points_x = samples or math.ceil(cell_w)
        for i in range(size[0]):
            for j in range(size[1]):
                for a in range(points_y):
                    for b in range(points_x):
                        y = top - 0.5 + (i + (a + 0.5) / points_y) * cell_h
                        x = left - 0.5 + (j + (b + 0.5) / points_x) * cell_w
                        share = value_at(image, y, x) / (points_y * points_x)
                        result[number, i, j] += share
    return result


@pytest.mark.parametrize("samples", [None, 1, 3])
@pytest.mark.parametrize("size", [(3, 2), (6, 6)])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_equals_the_definition(seed: int, size: tuple[int, int], samples: int | None) -> None:
    maps, boxes = random_case(seed)
    torch.testing.assert_close(
        roi_align(maps, boxes, size, samples=samples), slow_reference(maps, boxes, size, samples)
    )


def torchvisions(maps: Tensor, boxes: Tensor, size: tuple[int, int], samples: int) -> Tensor:
    """By its operator where it can be loaded, else by its Python version, uncompiled."""
    top, left, height, width = boxes.unbind(dim=1)
    number = torch.arange(len(maps), dtype=boxes.dtype)
    regions = torch.stack([number, left, top, left + width, top + height], dim=1)
    given = maps.movedim(-1, 1), regions
    found: Tensor
    if OPERATOR:
        found = torchvision().roi_align(*given, size, sampling_ratio=samples, aligned=True)
    else:
        plain = inspect.unwrap(sys.modules["torchvision.ops.roi_align"]._roi_align)
        found = plain(*given, 1.0, *size, samples, True)
    return found.movedim(1, -1)


def torchvision() -> Any:
    return pytest.importorskip("torchvision.ops", reason="torchvision is not installed")


@pytest.mark.parametrize("samples", [None, 2])
@pytest.mark.parametrize("size", [(3, 2), (6, 6)])
def test_it_equals_torchvisions(size: tuple[int, int], samples: int | None) -> None:
    torchvision()
    for seed in SEEDS:
        # What lies beyond the map, its Python version treats in another way than its operator.
        maps, boxes = random_case(seed, inside=not OPERATOR)
        found = roi_align(maps, boxes, size, samples=samples)
        torch.testing.assert_close(found, torchvisions(maps, boxes, size, samples or -1))


def test_the_maps_own_pixels_come_back() -> None:
    maps, _ = random_case(0)
    whole = torch.tensor([[0.0, 0.0, 7.0, 9.0]]).expand(4, 4)
    torch.testing.assert_close(roi_align(maps, whole, (7, 9)), maps)
    part = torch.tensor([[2.0, 1.0, 3.0, 4.0]]).expand(4, 4)
    torch.testing.assert_close(roi_align(maps, part, (3, 4)), maps[:, 2:5, 1:5])


def test_a_map_of_places_gives_the_centres_of_cells() -> None:
    """What is linear is read off exactly, away from the border."""
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(9.0), indexing="ij")
    places = torch.stack([y, x], dim=-1)[None] + 0.5
    box = torch.tensor([[1.2, 0.9, 4.6, 6.3]])
    rows = 1.2 + 4.6 * (torch.arange(6) + 0.5) / 6
    columns = 0.9 + 6.3 * (torch.arange(5) + 0.5) / 5
    wanted = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
    torch.testing.assert_close(roi_align(places, box, (6, 5))[0], wanted)


@pytest.mark.parametrize("seed", SEEDS)
def test_within_the_map_weights_sum_to_one(seed: int) -> None:
    maps, boxes = random_case(seed, inside=True)
    found = roi_align(torch.ones_like(maps), boxes, (6, 6))
    torch.testing.assert_close(found, torch.ones_like(found))


def test_what_is_not_there_is_zero() -> None:
    maps, _ = random_case(0)
    boxes = torch.tensor([[0.0, 0, 0, 4], [1, 1, 3, 0], [20, 1, 2, 2], [1, -9, 2, 2]])
    assert not roi_align(maps, boxes, (3, 3)).any()


def test_maps_do_not_see_each_other() -> None:
    maps, boxes = random_case(0, inside=True)
    one = roi_align(maps[2:3], boxes[2:3], (6, 6))
    torch.testing.assert_close(roi_align(maps, boxes, (6, 6))[2:3], one)
    assert roi_align(maps[:0], boxes[:0], (6, 6)).shape == (0, 6, 6, 3)


def test_the_gradient_is_that_of_the_value() -> None:
    maps, boxes = random_case(1)
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, boxes[:1], (3, 2)), maps[:1, :, :, :2].requires_grad_()
    )


def test_half_precision_is_worked_on_in_float32() -> None:
    maps, boxes = random_case(0, inside=True)
    maps = maps.bfloat16()
    wanted = roi_align(maps.float(), boxes, (6, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (maps, maps.float()):
            found = roi_align(given, boxes, (6, 6))
            assert found.dtype == torch.float32
            assert torch.equal(found, wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same() -> None:
    maps, boxes = random_case(0)
    wanted = roi_align(maps, boxes, (6, 6))
    for device in ("cpu", "cuda"):
        found = roi_align(maps.cuda(), boxes.to(device), (6, 6))
        torch.testing.assert_close(found.cpu(), wanted)


@pytest.mark.bad_input
def test_what_cannot_be_aligned_is_refused() -> None:
    maps, boxes = random_case(0)
    with pytest.raises(ShapeError, match=r"boxes must have shape \(4, 4\), got \(3, 4\)"):
        roi_align(maps, boxes[:3], (6, 6))
    with pytest.raises(ShapeError, match=r"maps must have shape \(any, any, any, any\)"):
        roi_align(maps[0], boxes, (6, 6))
    with pytest.raises(RangeError, match="size_columns must be positive, got 0"):
        roi_align(maps, boxes, (6, 0))
    with pytest.raises(RangeError, match="samples must be positive, got 0"):
        roi_align(maps, boxes, (6, 6), samples=0)
    boxes[2, 3] = torch.nan
    with pytest.raises(RangeError, match=r"^roi_align: boxes must be finite, got nan"):
        roi_align(maps, boxes, (6, 6))
