"""Cropping, resizing and mirroring as two matrix products for each image."""

import math

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from patchwise.checks import check_positive, check_shape
from patchwise.errors import RangeError

_SHARPNESS = -0.5  # the free parameter a of the cubic kernel, as in PIL
_MIDDLE = 128  # of pixel values: bfloat16 is finest near 0
_STEP_PX = 32  # axes are filled up to multiples of it, so that products are of few shapes
_VALUES = {"cpu": 1 << 20, "cuda": 1 << 26}  # of results made at a time, most


def resampling_matrix(
    start: Int[Tensor, " B"],
    length: Int[Tensor, " B"],
    *,
    in_px: int,
    out_px: int,
    flip: Bool[Tensor, " B"] | None = None,
    like: Tensor | None = None,
) -> Float[Tensor, "B out_px in_px"]:
    """Return the antialiased bicubic resampling of one axis, for every crop.

    Row s weighs the input pixels i of the crop by

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
        like: Whose type and device the matrices have; None: float32, where ``start`` is. Crops
            that lie on the CPU make no GPU wait.

    Returns:
        1 at the pixel itself where length = out_px.

    Raises:
        ShapeError: start, length and flip do not have one entry per crop.
        RangeError: a crop is empty or leaves the axis.

    Source: Keys 1981, "Cubic convolution interpolation"; widened for shrinking as
    ``PIL.Image.resize(..., BICUBIC)`` does on an image that was cropped first.
    Differs: PIL rounds to 8 bits after each axis.
    """
    _check_spans(start, length, in_px, out_px)
    shrink = (length.double() / out_px)[:, None]  # [B, 1]
    step = torch.arange(out_px, device=start.device) + 0.5
    if flip is not None:
        check_shape("resampling_matrix", (len(start),), flip=flip)
        step = torch.where(flip[:, None], out_px - step, step)  # [B, S]
    centre = start[:, None] + step * shrink  # [B, S]
    stretch = shrink.clamp(min=1)

    # Only the taps round each centre can have a weight.
    taps = min(math.ceil(4 * float(stretch.max())) + 1, in_px)
    low = (centre - 2 * stretch).floor().clamp(0, in_px - taps)  # [B, S]
    weight = _tap_weights(centre, low, stretch, (start, start + length), taps)
    like = weight if like is None else like
    matrix = torch.zeros(len(start), out_px, in_px, dtype=like.dtype, device=like.device)
    low += (torch.arange(low.numel(), device=low.device) * in_px).view_as(low)
    low = low.long().to(like.device, non_blocking=True)
    place = low[..., None] + torch.arange(taps, device=like.device)
    weight = weight.to(matrix, non_blocking=True).flatten()
    matrix.view(-1).index_copy_(0, place.flatten(), weight)
    return matrix


def resample_boxes(
    images: UInt8[Tensor, "B 3 H W"],
    boxes: Int[Tensor, "V B 4"],
    flip: Bool[Tensor, "V B"],
    *,
    size_px: int,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "V B 3 size_px size_px"]:
    """Resize V boxes of each image to squares, as `resampling_matrix` says.

    All rows of all results of an image are one product with the image, then all columns of each
    result are one with these rows.

    Args:
        images: Padded images.
        boxes: Top, left, height and width, pixels; on the CPU, as ``flip``.
        flip: Which results are mirrored left to right.
        size_px: Side of the results.
        dtype: Of the factors; bfloat16 is faster where a processor has products of it.

    Returns:
        float32, scaled by 1 / 255 and clamped to [0, 1], not rounded to 8 bits.

    Differs: in bfloat16, weights and the results of both products have 8 bits, about as many as
    PIL keeps.
    """
    views, number = flip.shape
    result = torch.empty(views, number, 3, size_px, size_px, device=images.device)
    most = _VALUES.get(images.device.type, _VALUES["cpu"])
    step = max(1, most // (3 * views * size_px**2))
    for first in range(0, number, step):
        part = slice(first, first + step)
        made = _resample_part(images[part], boxes[:, part], flip[:, part], size_px, dtype)
        # The middle is given back in float32.
        middle = result.new_full((), _MIDDLE / 255)
        scaled = result[:, part].copy_(made)
        torch.add(middle, scaled, alpha=1 / 255, out=scaled).clamp_(0, 1)
    return result


def _resample_part(
    images: Tensor, boxes: Tensor, flip: Tensor, size_px: int, dtype: torch.dtype
) -> Float[Tensor, "V B 3 S S"]:
    """Return results less the middle, of 255, in ``dtype``."""
    views, number = flip.shape
    height, width = (math.ceil(px / _STEP_PX) * _STEP_PX for px in images.shape[2:])
    source = torch.zeros(number, height, 3, width, dtype=dtype, device=images.device)
    # The middle is taken off each byte by its highest bit; padding is the middle.
    less = images.bitwise_xor(_MIDDLE).view(torch.int8)
    source[:, : images.shape[2], :, : images.shape[3]] = less.transpose(1, 2)
    source = source.flatten(2)

    top, left, box_height, box_width = boxes.transpose(0, 1).flatten(0, 1).unbind(dim=1)
    down = resampling_matrix(top, box_height, in_px=height, out_px=size_px, like=source)
    rows = torch.bmm(down.view(number, -1, height), source).view(number * views, -1, width)
    across = resampling_matrix(
        left, box_width, in_px=width, out_px=size_px, flip=flip.T.flatten(), like=source
    )
    made = torch.bmm(rows, across.mT).view(number, views, size_px, 3, size_px)
    return made.permute(1, 0, 3, 2, 4)


def _check_spans(start: Tensor, length: Tensor, in_px: int, out_px: int) -> None:
    check_positive("resampling_matrix", in_px=in_px, out_px=out_px)
    check_shape("resampling_matrix", (len(start),), length=length)
    end = start + length
    if (start < 0).any() or (length < 1).any() or (end > in_px).any():
        spans = torch.stack([start, end], dim=1).tolist()
        raise RangeError(
            f"resampling_matrix: start and end must lie in [0, {in_px}] and hold a pixel, "
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
    """Return the cubic kernel at distances >= 0, as two truncated cubics: no branches."""
    a = _SHARPNESS
    far, near = (2 - distance).clamp_(min=0), (1 - distance).clamp_(min=0)
    return a * far.square() * (1 - far) + near.square() * ((3 + 4 * a) - 2 * near)
