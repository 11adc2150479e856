"""Which patches of two views of one image show the same place: from the crop boxes alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchwise.checks import check_positive, check_shape
from patchwise.errors import RangeError, ShapeError

Grid = int | tuple[int, int]  # patches per side, or (rows, columns)


@dataclass(frozen=True)
class PatchMatches:
    """Pairs of patches of view a and view b, for each image; CLS is not among them.

    Letters: B images, M the most pairs that the two grids allow. They stand in the base image's
    reading order, with gaps: where ``valid`` is False both indices are 0.
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
class _AxisPairs:
    """Pairs of rows, or of columns, of view a and view b, in the image's order.

    An image's pairs come first; what stands after them means nothing.
    """

    index_a: Int[Tensor, "B m"]
    index_b: Int[Tensor, "B m"]
    count: Int[Tensor, "B 1"]


_Pair = tuple[Tensor, Tensor]  # of view a and of view b


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
        RangeError: a box or grid is empty; boxes are asked on the CPU only, as elsewhere the
            answer would have to be waited for.

    Source: Javidani et al. 2024, "PW-Self", arXiv:2310.18651, section 3.
    Differs: where rounding makes a flipped view's range reach beyond the grid by one patch, the
    range is cut there; the authors' code then drops the pair of views.

    >>> left, right = torch.tensor([[0, 0, 4, 4]]), torch.tensor([[0, 2, 4, 4]])
    >>> no = torch.tensor([False])
    >>> matches = match_patches(left, no, 2, right, no, 2)  # right column of a, left column of b
    >>> matches.index_a, matches.index_b
    (tensor([[2, 0, 4, 0]]), tensor([[1, 0, 3, 0]]))
    >>> matches.valid
    tensor([[ True, False,  True, False]])
    """
    _check_views("match_patches", boxes_a, flip_a, boxes_b, flip_b)
    grids = _as_pair("match_patches", grid_a), _as_pair("match_patches", grid_b)
    down = _thin((boxes_a[:, 0::2], boxes_b[:, 0::2]), (grids[0][0], grids[1][0]))
    across = _thin((boxes_a[:, 1::2], boxes_b[:, 1::2]), (grids[0][1], grids[1][1]))
    return _cross(down, _mirror(across, (flip_a, flip_b), grids), grids)


def match_nearest_patches(
    boxes_a: Int[Tensor, "B 4"],
    flip_a: Bool[Tensor, " B"],
    grid_a: Grid,
    boxes_b: Int[Tensor, "B 4"],
    flip_b: Bool[Tensor, " B"],
    grid_b: Grid,
) -> PatchMatches:
    """Pair each patch of view b with the patch of view a that its centre lies in.

    That is the patch of a whose centre is nearest; the centres are at most half a patch of a
    apart, along each axis. A centre on the border of two patches belongs to the lower or right one
    of the image. A patch of b whose centre lies outside view a has no partner. No patch of b
    occurs twice; a patch of a occurs as often as centres lie in it.

    Args:
        boxes_a: As in `match_patches`; in training a is the teacher's view, b the student's.
        flip_a: Likewise.
        grid_a: Likewise.
        boxes_b: Likewise.
        flip_b: Likewise.
        grid_b: Likewise.

    Returns:
        M = rows * columns of view b. Equal boxes, grids and flips pair every patch with itself;
        boxes that do not overlap give no pair.

    Raises:
        ShapeError: boxes or flips do not have one row per image.
        RangeError: a box or grid is empty; boxes are asked on the CPU only, as elsewhere the
            answer would have to be waited for.

    Source: none; in whole numbers, so that nothing is rounded.

    >>> left, right = torch.tensor([[0, 0, 4, 4]]), torch.tensor([[0, 2, 4, 4]])
    >>> no = torch.tensor([False])
    >>> matches = match_nearest_patches(left, no, 2, right, no, 4)
    >>> matches.index_a[matches.valid], matches.index_b[matches.valid]  # b's left half
    (tensor([2, 2, 2, 2, 4, 4, 4, 4]), tensor([ 1,  2,  5,  6,  9, 10, 13, 14]))
    """
    _check_views("match_nearest_patches", boxes_a, flip_a, boxes_b, flip_b)
    grids = _as_pair("match_nearest_patches", grid_a), _as_pair("match_nearest_patches", grid_b)
    down = _enclose((boxes_a[:, 0::2], boxes_b[:, 0::2]), (grids[0][0], grids[1][0]))
    across = _enclose((boxes_a[:, 1::2], boxes_b[:, 1::2]), (grids[0][1], grids[1][1]))
    return _cross(down, _mirror(across, (flip_a, flip_b), grids), grids)


MATCHERS = {"thinned": match_patches, "nearest": match_nearest_patches}


def match_distance(
    matches: PatchMatches,
    boxes: tuple[Int[Tensor, "B 4"], Int[Tensor, "B 4"]],
    flips: tuple[Bool[Tensor, " B"], Bool[Tensor, " B"]],
    grids: tuple[Grid, Grid],
) -> Float[Tensor, "B M 2"]:
    """How far apart the centres of partners lie in the image, down and across.

    Args:
        matches: Of view a and view b.
        boxes: Of view a and view b, as they were matched.
        flips: Likewise.
        grids: Likewise.

    Returns:
        Distances along each axis in heights and widths of a patch of view a, float32, >= 0.
        Above 0.5, the centre of b's patch lies outside a's patch. 0 where ``valid`` is False.
    """
    pairs = zip(boxes, flips, grids, (matches.index_a, matches.index_b), strict=True)
    centre_a, centre_b = (
        _centres(box, flip, _as_pair("match_distance", grid), index)
        for box, flip, grid, index in pairs
    )
    rows, columns = _as_pair("match_distance", grids[0])
    per_image = torch.tensor([rows, columns], device=centre_a.device) / boxes[0][:, 2:]  # [B, 2]
    apart = (centre_a - centre_b).abs() * per_image[:, None]
    return apart * matches.valid[..., None]


def _centres(boxes: Tensor, flip: Tensor, grid: tuple[int, int], index: Tensor) -> Tensor:
    """Return y and x in the image of the centres of 1-based patches, [B, M, 2]."""
    rows, columns = grid
    row, column = (index - 1) // columns, (index - 1) % columns
    column = torch.where(flip[:, None], columns - 1 - column, column)
    top, left, height, width = boxes[..., None].unbind(dim=1)  # [B, 1]
    return torch.stack(
        [top + height * (row + 0.5) / rows, left + width * (column + 0.5) / columns], dim=-1
    )


def _thin(axes: _Pair, patches: tuple[int, int]) -> _AxisPairs:
    """Return what the overlap covers of both views along one axis, the longer range thinned.

    Args:
        axes: Start and length of each view, whole pixels [B, 2].
        patches: Of each view along the axis.
    """
    starts = [axis[:, :1].double() for axis in axes]
    lengths = [axis[:, 1:].double() for axis in axes]
    start = torch.maximum(*starts)
    end = torch.minimum(*map(torch.add, starts, lengths))
    length = (end - start).clamp(min=0)
    firsts, counts = [], []
    for own_start, own_length, n in zip(starts, lengths, patches, strict=True):
        first = torch.round(n * ((start - own_start) / own_length))
        count = torch.round(n * (length / own_length))
        firsts.append(first.long())
        counts.append(torch.minimum(count, n - first).clamp(min=0).long())
    shorter = torch.minimum(*counts)
    step = torch.arange(min(patches), device=shorter.device)
    last = (shorter - 1).clamp(min=1)
    index_a, index_b = (
        first + step * (count - 1) // last for first, count in zip(firsts, counts, strict=True)
    )
    return _AxisPairs(index_a, index_b, shorter)


def _enclose(axes: _Pair, patches: tuple[int, int]) -> _AxisPairs:
    """Return, along one axis, b's patches whose centres lie in view a, and a's patches there.

    Args:
        axes: Start and length of each view, whole pixels [B, 2].
        patches: Of each view along the axis.
    """
    starts = [axis[:, :1].long() for axis in axes]
    lengths = [axis[:, 1:].long() for axis in axes]
    n_a, n_b = patches

    def enclosing(patch_b: Tensor) -> Tensor:
        """Return the patch of a that the centre lies in; beyond view a they are counted on."""
        centre = (2 * patch_b + 1) * lengths[1] + 2 * n_b * (starts[1] - starts[0])
        return n_a * centre // (2 * n_b * lengths[0])  # lengths times 2 * n_b are whole

    step = torch.arange(n_b, device=starts[0].device)
    patch_a = enclosing(step)  # [B, n_b], rising
    before = (patch_a < 0).sum(dim=1, keepdim=True)
    count = (patch_a < n_a).sum(dim=1, keepdim=True) - before
    return _AxisPairs(enclosing(before + step), before + step, count)


def _mirror(pairs: _AxisPairs, flips: _Pair, grids: tuple[tuple[int, int], ...]) -> _AxisPairs:
    """Count the columns of flipped views from the other side."""
    index_a, index_b = (
        torch.where(flip[:, None], columns - 1 - index, index)
        for flip, (_, columns), index in zip(
            flips, grids, (pairs.index_a, pairs.index_b), strict=True
        )
    )
    return _AxisPairs(index_a, index_b, pairs.count)


def _cross(
    down: _AxisPairs, across: _AxisPairs, grids: tuple[tuple[int, int], ...]
) -> PatchMatches:
    """Pair the patches of every pair of rows and pair of columns."""
    device = down.count.device
    rows = torch.arange(down.index_a.shape[1], device=device) < down.count  # [B, m]
    columns = torch.arange(across.index_a.shape[1], device=device) < across.count
    valid = (rows[:, :, None] & columns[:, None]).flatten(1)  # [B, M]
    unused = ~valid

    def index(grid: tuple[int, int], row: Tensor, column: Tensor) -> Tensor:
        first = 1 + grid[1] * row  # patch of each row
        return (first[:, :, None] + column[:, None]).flatten(1).masked_fill_(unused, 0)

    index_a = index(grids[0], down.index_a, across.index_a)
    index_b = index(grids[1], down.index_b, across.index_b)
    return PatchMatches(index_a, index_b, valid)


def _as_pair(caller: str, grid: Grid) -> tuple[int, int]:
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    check_positive(caller, grid_rows=rows, grid_columns=columns)
    return rows, columns


def _check_views(
    caller: str, boxes_a: Tensor, flip_a: Tensor, boxes_b: Tensor, flip_b: Tensor
) -> None:
    check_shape(caller, (None, 4), boxes_a=boxes_a)
    check_shape(caller, (len(boxes_a), 4), boxes_b=boxes_b)
    check_shape(caller, (len(boxes_a),), flip_a=flip_a, flip_b=flip_b)
    for name, boxes in {"boxes_a": boxes_a, "boxes_b": boxes_b}.items():
        if boxes.is_floating_point():
            raise ShapeError(f"{caller}: {name} must be whole pixels, got {boxes.dtype}")
        if boxes.device.type == "cpu" and (boxes[:, 2:] < 1).any():
            smallest = boxes[:, 2:].min()
            raise RangeError(
                f"{caller}: {name} must be at least 1 pixel high and wide, got {smallest}"
            )
