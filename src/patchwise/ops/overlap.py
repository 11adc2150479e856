"""The place that two crops of an image share, as each of them shows it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.checks import check_positive, check_shape


def overlap_boxes(
    boxes_a: Int[Tensor, "B 4"],
    boxes_b: Int[Tensor, "B 4"],
    *,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
) -> tuple[Float[Tensor, "B 4"], Float[Tensor, "B 4"]]:
    """Return where the overlap of the crops a and b lies in crop a, and where in crop b.

    Args:
        boxes_a: Top, left, height and width of crop a in its image. It is not mirrored.
        boxes_b: Likewise.
        size_a: Height and width of crop a after resizing, in the unit of the answer: 224 x 224
            pixels, or 14 x 14 patches.
        size_b: Likewise.

    Returns:
        Top, left, height and width in each crop, float64. Equal boxes give the whole of both
        crops; where crops do not overlap, height or width is 0.

    Raises:
        ShapeError: There are not as many boxes of a as of b.
        RangeError: A size, or a crop's height or width, is not positive.

    >>> left, right = torch.tensor([[0, 0, 4, 4]]), torch.tensor([[0, 2, 4, 8]])
    >>> [box.tolist() for box in overlap_boxes(left, right, size_a=(8, 8), size_b=(8, 8))]
    [[[0.0, 4.0, 8.0, 4.0]], [[0.0, 0.0, 8.0, 2.0]]]
    """
    name = "overlap_boxes"
    check_shape(name, (None, 4), boxes_a=boxes_a)
    check_shape(name, (len(boxes_a), 4), boxes_b=boxes_b)
    check_positive(name, rows_a=size_a[0], columns_a=size_a[1])
    check_positive(name, rows_b=size_b[0], columns_b=size_b[1])
    check_positive(name, extent_a=_least_extent(boxes_a), extent_b=_least_extent(boxes_b))
    start = torch.maximum(boxes_a[:, :2], boxes_b[:, :2])
    end = torch.minimum(*(boxes[:, :2] + boxes[:, 2:] for boxes in (boxes_a, boxes_b)))
    extent = (end - start).clamp(min=0)

    def within(boxes: Tensor, size: tuple[int, int]) -> Tensor:
        # Divided last: what is a whole number comes out whole.
        parts = torch.stack([start - boxes[:, :2], extent]).double()  # [2, B, 2]
        parts *= torch.tensor(size, device=boxes.device)
        return torch.cat([*(parts / boxes[:, 2:])], dim=1)

    return within(boxes_a, size_a), within(boxes_b, size_b)


def _least_extent(boxes: Tensor) -> int:
    return int(boxes[:, 2:].min()) if len(boxes) else 1
