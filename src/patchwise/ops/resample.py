"""Cropping, resizing and mirroring as two narrow matrix products for each image."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape
from patchwise.errors import RangeError

_SHARPNESS = -0.5  # the free parameter a of the cubic kernel, as in PIL
_BLOCK_PX = 32  # of the result, that share a window: wider ones multiply more zeros
_PIECE_PX = 32  # rows of images are read in pieces of this length
_VALUES = 1 << 19  # of results made at a time: what lies between stays in a processor's cache
_WINDOW_STEP_PX = 8  # windows are multiples of it, so that products are of few shapes


@dataclass(frozen=True)
class Bands:
    """One axis of a resampling. The result's pixels are made in blocks, each from one window.

    Block k of image b is ``weights[b, k]`` times pixels ``first[b, k]`` and following. The last
    block goes beyond the result if the block's length does not divide it.
    """

    first: Int[Tensor, "B blocks"]
    weights: Float[Tensor, "B blocks block_px window_px"]

    @property
    def block_px(self) -> int:
        """Pixels of the result in a block."""
        return self.weights.shape[2]

    @property
    def window_px(self) -> int:
        """Pixels that a block is made from."""
        return self.weights.shape[3]


def resampling_bands(
    start: Int[Tensor, " B"],
    length: Int[Tensor, " B"],
    *,
    in_px: int,
    out_px: int,
    flip: Bool[Tensor, " B"] | None = None,
    device: torch.device | None = None,
) -> Bands:
    """Return the antialiased bicubic resampling of one axis, for every image.

    Pixel s of the result weighs the input pixels i of the crop by

        k((i + 0.5 - centre_s) / stretch),  centre_s = start + (s + 0.5) * length / out_px,
        stretch = max(1, length / out_px)

    with k the cubic kernel (a = -0.5), and these weights sum to 1. Pixels outside the crop weigh 0,
    so nothing of them is seen.

    Args:
        start: First pixel of each crop.
        length: Pixels of each crop; start + length may not exceed ``in_px``.
        in_px: Pixels of the axis, padding included.
        out_px: Pixels of the result.
        flip: Which crops are mirrored; None mirrors none.
        device: Where the bands are made; None: where ``start`` is. Crops that lie on the CPU
            make no GPU wait.

    Returns:
        float32 weights; 1 at the pixel itself where length = out_px.

    Raises:
        ShapeError: start, length and flip do not have one entry per image.
        RangeError: a crop is empty or leaves the axis.

    Source: Keys 1981, "Cubic convolution interpolation"; widened for shrinking as
    ``PIL.Image.resize(..., BICUBIC)`` does on an image that was cropped first.
    Differs: PIL rounds to 8 bits after each axis.
    """
    _check_spans(start, length, in_px, out_px)
    blocks = math.ceil(out_px / _BLOCK_PX)
    block_px = math.ceil(out_px / blocks)
    shrink = (length.double() / out_px)[:, None]  # [B, 1]
    step = torch.arange(blocks * block_px, device=start.device).clamp(max=out_px - 1) + 0.5
    if flip is not None:
        check_shape("resampling_bands", (len(start),), flip=flip)
        step = torch.where(flip[:, None], out_px - step, step)  # [B, S]
    centre = start[:, None] + step * shrink  # [B, S]
    stretch = shrink.clamp(min=1)

    # Only the taps round each centre can have a weight.
    taps = min(math.ceil(4 * float(stretch.max())) + 1, in_px)
    low = (centre - 2 * stretch).floor().clamp(0, in_px - taps)  # [B, S]
    first, last = low.view(-1, blocks, block_px).aminmax(dim=2)  # [B, blocks]
    window = int((last - first).max()) + taps
    window = min(math.ceil(window / _WINDOW_STEP_PX) * _WINDOW_STEP_PX, in_px)
    first = first.clamp(max=in_px - window)
    place = low - first.repeat_interleave(block_px, dim=1)
    weight = _tap_weights(centre, low, stretch, (start, start + length), taps)
    first, place, weight = (
        each.to(device, non_blocking=True) for each in (first.long(), place.long(), weight)
    )
    bands = weight.new_zeros(len(start), blocks * block_px, window)
    bands.scatter_(2, place[..., None] + torch.arange(taps, device=bands.device), weight)
    return Bands(first, bands.view(len(start), blocks, block_px, window))


def resample_boxes(
    images: UInt8[Tensor, "B 3 H W"],
    owner: Int[Tensor, " N"],
    boxes: Int[Tensor, "N 4"],
    flip: Bool[Tensor, " N"],
    *,
    size_px: int,
) -> Float[Tensor, "N 3 size_px size_px"]:
    """Resize boxes of the images to squares, as `resampling_bands` says.

    Boxes of similar size are resized together, half a million values of results at a time.

    Args:
        images: Padded images.
        owner: Which image each box lies in; on the CPU, as boxes and flip.
        boxes: Top, left, height and width, pixels.
        flip: Which results are mirrored left to right.
        size_px: Side of the results.

    Returns:
        Values scaled by 1 / 255 and clamped to [0, 1], not rounded; equal to products with whole
        matrices to 1e-5.
    """
    images = F.pad(images, (0, -images.shape[3] % _PIECE_PX))
    blocks = math.ceil(size_px / _BLOCK_PX)
    block_px = math.ceil(size_px / blocks)
    result = torch.empty(len(boxes), 3, blocks, block_px, blocks, block_px, device=images.device)
    by_size = boxes[:, 2:].prod(dim=1).argsort()
    for part in torch.split(by_size, max(1, _VALUES // (3 * size_px**2))):
        made = _resample_part(images, owner[part], boxes[part], flip[part], size_px)
        result.index_copy_(0, part.to(images.device, non_blocking=True), made)
    side = blocks * block_px
    return result.view(-1, 3, side, side)[..., :size_px, :size_px].contiguous()


def _resample_part(
    images: Tensor, owner: Tensor, boxes: Tensor, flip: Tensor, size_px: int
) -> Float[Tensor, "N 3 blocks rows blocks columns"]:
    """Make all rows of the results: the pieces of rows that each window needs, times bands."""
    rows, device = images.shape[2], images.device
    pieces_in_row = images.shape[3] // _PIECE_PX
    top, left, height, width = boxes.unbind(dim=1)
    skipped = left // _PIECE_PX  # pieces of each row left of the box
    pieces = int(((left + width - 1) // _PIECE_PX + 1 - skipped).max())
    skipped = skipped.clamp(max=pieces_in_row - pieces)
    columns = pieces * _PIECE_PX
    left = left - skipped * _PIECE_PX
    down = resampling_bands(top, height, in_px=rows, out_px=size_px, device=device)
    across = resampling_bands(left, width, in_px=columns, out_px=size_px, flip=flip, device=device)

    # Places of pieces [N, blocks, window, 3, pieces].
    first = (owner[:, None] * 3 + torch.arange(3)) * rows * pieces_in_row + skipped[:, None]
    first = first.to(device, non_blocking=True)[:, None, None, :, None]
    row = (down.first[..., None] + torch.arange(down.window_px, device=device))[..., None, None]
    piece = first + row * pieces_in_row + torch.arange(pieces, device=device)
    source = images.view(-1, _PIECE_PX).index_select(0, piece.flatten())
    source = source.view(-1, down.window_px, 3 * columns).float()
    high = torch.bmm(source.mT, (down.weights * (1 / 255)).flatten(0, 1).mT)
    return _resample_columns(high.view(len(owner), -1, 3, columns, down.block_px), across)


def _resample_columns(
    high: Float[Tensor, "N blocks 3 W rows"], across: Bands
) -> Float[Tensor, "N 3 blocks rows blocks columns"]:
    """Make the columns of results whose rows lie in blocks, and behind the columns."""
    number, blocks, _, columns, rows = high.shape
    # Places of columns [N, blocks across, window, blocks, 3].
    first = torch.arange(number * blocks * 3, device=high.device) * columns
    column = across.first[..., None] + torch.arange(across.window_px, device=high.device)
    column = first.view(number, 1, 1, blocks, 3) + column[..., None, None]
    source = high.view(-1, rows).index_select(0, column.flatten())
    source = source.view(-1, across.window_px, blocks * 3 * rows)
    made = torch.bmm(source.mT, across.weights.flatten(0, 1).mT).clamp_(0, 1)
    made = made.view(number, blocks, blocks, 3, rows, across.block_px)
    return made.permute(0, 3, 2, 4, 1, 5)


def _check_spans(start: Tensor, length: Tensor, in_px: int, out_px: int) -> None:
    check_positive("resampling_bands", in_px=in_px, out_px=out_px)
    check_shape("resampling_bands", (len(start),), length=length)
    end = start + length
    if (start < 0).any() or (length < 1).any() or (end > in_px).any():
        spans = torch.stack([start, end], dim=1).tolist()
        raise RangeError(
            f"resampling_bands: start and end must lie in [0, {in_px}] and hold a pixel, "
            f"got {spans[:4]}"
        )


def _tap_weights(
    centre: Tensor, low: Tensor, stretch: Tensor, ends: tuple[Tensor, Tensor], taps: int
) -> Float[Tensor, "B S taps"]:
    """Weigh the pixels ``low`` and following; those outside the crop's ends by 0."""
    # Whole pixels and the rest apart, so that float32 is exact near the centre.
    whole = centre.floor()
    begin, end = (each[:, None] - low for each in ends)
    values = low - whole, whole + 0.5 - centre, begin, end, stretch
    before, beside, begin, end, stretch = (each.float()[..., None] for each in values)
    tap = torch.arange(taps, device=before.device)
    weight = _cubic((tap + before).add_(beside).div_(stretch).abs_())
    weight *= (tap >= begin) & (tap < end)
    return weight.div_(weight.sum(dim=2, keepdim=True))


def _cubic(distance: Tensor) -> Tensor:
    """Return the cubic kernel at distances >= 0."""
    a = _SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance < 1, near, far).masked_fill_(distance >= 2, 0)
