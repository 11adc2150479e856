"""Which patches of two views of one image show the same place: from the crop boxes alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from patchwise.checks import check_positive, check_shape
from patchwise.errors import RangeError, ShapeError

Grid = int | tuple[int, int]  # patches per side, or (rows, columns)


@dataclass(frozen=True)
class PatchMatches:
    """Pairs of patches of view a and view b, for each image; CLS is not among them.

    Letters: B images, M the most pairs that the two grids allow. An image's pairs come first, in
    the base image's reading order; after them both indices are 0 and ``valid`` is False.
    """

    index_a: Int[Tensor, "B M"]  # 1-based over the patches of view a, read row by row
    index_b: Int[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]

    def to(self, device: torch.device) -> "PatchMatches":
        """Return the matches on ``device``."""
        moved = [
            part.to(device, non_blocking=True) for part in (self.index_a, self.index_b, self.valid)
        ]
        return PatchMatches(*moved)


@dataclass(frozen=True)
class _Span:
    """The patches of one view, along one axis, that lie in the overlap: first, first + 1, ..."""

    first: Tensor  # [B, 1]
    count: Tensor  # [B, 1]
    patches: int  # along the whole axis
    flip: Tensor | None  # [B, 1]: the axis is mirrored

    def indices(self, step: Tensor, steps: Tensor) -> Tensor:
        """Patch index of each of ``steps`` evenly spread picks, in the base image's order."""
        offset = step * (self.count - 1) // (steps - 1).clamp(min=1)
        index = self.first + offset
        if self.flip is None:
            return index
        return torch.where(self.flip, self.patches - 1 - index, index)


def match_patches(
    boxes_a: Int[Tensor, "B 4"],
    flip_a: Bool[Tensor, " B"],
    grid_a: Grid,
    boxes_b: Int[Tensor, "B 4"],
    flip_b: Bool[Tensor, " B"],
    grid_b: Grid,
) -> PatchMatches:
    """Pair the patches of two views that show the same place of their image.

    The overlap of the boxes covers, in each view and along each axis, the patches

        first = round(n * ((overlap_start - box_start) / box_length))
        count = round(n * (overlap_length / box_length)),  cut at the n-th patch

    rounded half to even in float64. The longer of the two ranges is thinned to the shorter one's
    length m by i * (longer - 1) // (m - 1); a flipped view's columns are mirrored. The pairs are
    the two thinned grids, read row by row.

    Args:
        boxes_a: Top, left, height and width of view a, in whole pixels of the image.
        flip_a: Whether view a was mirrored left to right after cropping.
        grid_a: Patches of view a: per side, or (rows, columns).
        boxes_b: As ``boxes_a``, of view b.
        flip_b: As ``flip_a``, of view b.
        grid_b: As ``grid_a``, of view b.

    Returns:
        M = min(rows) * min(columns) entries per image. Equal boxes, grids and flips pair every
        patch with itself; boxes that do not overlap or only touch give no pair.

    Raises:
        ShapeError: boxes or flips do not have one row per image.
        RangeError: a box or grid is empty.

    Source: Javidani et al. 2024, "PW-Self", arXiv:2310.18651, section 3.
    Differs: where rounding makes a flipped view's range reach beyond the grid by one patch, the
    range is cut there; the authors' code then drops the pair of views.

    >>> left, right = torch.tensor([[0, 0, 4, 4]]), torch.tensor([[0, 2, 4, 4]])
    >>> no = torch.tensor([False])
    >>> matches = match_patches(left, no, 2, right, no, 2)  # right column of a, left column of b
    >>> matches.index_a, matches.index_b
    (tensor([[2, 4, 0, 0]]), tensor([[1, 3, 0, 0]]))
    >>> matches.valid
    tensor([[ True,  True, False, False]])
    """
    _check_views(boxes_a, flip_a, boxes_b, flip_b)
    rows_a, columns_a = _as_pair(grid_a)
    rows_b, columns_b = _as_pair(grid_b)
    down_a, down_b = _spans(boxes_a[:, 0::2], boxes_b[:, 0::2], (rows_a, rows_b))
    flips = (flip_a[:, None], flip_b[:, None])
    across_a, across_b = _spans(boxes_a[:, 1::2], boxes_b[:, 1::2], (columns_a, columns_b), flips)

    high = torch.minimum(down_a.count, down_b.count)  # [B, 1]
    wide = torch.minimum(across_a.count, across_b.count)
    pair = torch.arange(min(rows_a, rows_b) * min(columns_a, columns_b), device=boxes_a.device)
    row, column = pair // wide.clamp(min=1), pair % wide.clamp(min=1)  # [B, M]
    valid = pair < high * wide

    index_a = 1 + down_a.indices(row, high) * columns_a + across_a.indices(column, wide)
    index_b = 1 + down_b.indices(row, high) * columns_b + across_b.indices(column, wide)
    return PatchMatches(index_a * valid, index_b * valid, valid)


def _spans(
    axis_a: Tensor,
    axis_b: Tensor,
    patches: tuple[int, int],
    flips: tuple[Tensor | None, Tensor | None] = (None, None),
) -> tuple[_Span, _Span]:
    """Return what the overlap covers of both views along one axis; axis_*: start, length [B, 2]."""
    axis_a, axis_b = axis_a.double(), axis_b.double()
    start_a, length_a = axis_a[:, :1], axis_a[:, 1:]
    start_b, length_b = axis_b[:, :1], axis_b[:, 1:]
    start = torch.maximum(start_a, start_b)
    end = torch.minimum(start_a + length_a, start_b + length_b)
    length = (end - start).clamp(min=0)

    def span(own_start: Tensor, own_length: Tensor, n: int, flip: Tensor | None) -> _Span:
        first = torch.round(n * ((start - own_start) / own_length))
        count = torch.round(n * (length / own_length))
        return _Span(first.long(), torch.minimum(count, n - first).clamp(min=0).long(), n, flip)

    return (
        span(start_a, length_a, patches[0], flips[0]),
        span(start_b, length_b, patches[1], flips[1]),
    )


def _as_pair(grid: Grid) -> tuple[int, int]:
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    check_positive("match_patches", grid_rows=rows, grid_columns=columns)
    return rows, columns


def _check_views(boxes_a: Tensor, flip_a: Tensor, boxes_b: Tensor, flip_b: Tensor) -> None:
    check_shape("match_patches", (None, 4), boxes_a=boxes_a)
    check_shape("match_patches", (len(boxes_a), 4), boxes_b=boxes_b)
    check_shape("match_patches", (len(boxes_a),), flip_a=flip_a, flip_b=flip_b)
    for name, boxes in {"boxes_a": boxes_a, "boxes_b": boxes_b}.items():
        if boxes.is_floating_point():
            raise ShapeError(f"match_patches: {name} must be whole pixels, got {boxes.dtype}")
        if (boxes[:, 2:] < 1).any():
            smallest = boxes[:, 2:].min()
            raise RangeError(
                f"match_patches: {name} must be at least 1 pixel high and wide, got {smallest}"
            )
