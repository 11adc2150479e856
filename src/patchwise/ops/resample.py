"""Cropping, resizing and mirroring as one matrix per axis and image."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchwise.checks import check_positive, check_shape
from patchwise.errors import RangeError

_SHARPNESS = -0.5  # the free parameter a of the cubic kernel, as in PIL


def resampling_matrix(
    start: Int[Tensor, " B"],
    length: Int[Tensor, " B"],
    *,
    in_px: int,
    out_px: int,
    flip: Bool[Tensor, " B"] | None = None,
    device: torch.device | None = None,
) -> Float[Tensor, "B out_px in_px"]:
    """Return the antialiased bicubic resampling of one axis, for every image.

    Row s weighs the input pixels i of the crop by

        k((i + 0.5 - centre_s) / stretch),  centre_s = start + (s + 0.5) * length / out_px,
        stretch = max(1, length / out_px)

    with k the cubic kernel (a = -0.5), and sums to 1. Pixels outside the crop weigh 0, so nothing
    of them is seen. With W_y of the rows and W_x of the columns, the crop is W_y image W_x^T.

    Args:
        start: First pixel of each crop.
        length: Pixels of each crop; start + length may not exceed ``in_px``.
        in_px: Pixels of the axis, padding included.
        out_px: Pixels of the result.
        flip: Which crops are mirrored; None mirrors none.
        device: Where the matrices are made; None: where ``start`` is. Crops that lie on the CPU
            make no GPU wait.

    Returns:
        float32. The identity where the crop is the whole axis and out_px = in_px.

    Raises:
        ShapeError: start, length and flip do not have one entry per image.
        RangeError: a crop is empty or leaves the axis.

    Source: Keys 1981, "Cubic convolution interpolation"; widened for shrinking as
    ``PIL.Image.resize(..., BICUBIC)`` does on an image that was cropped first.
    Differs: PIL rounds to 8 bits after each axis.
    """
    check_positive("resampling_matrix", in_px=in_px, out_px=out_px)
    check_shape("resampling_matrix", (len(start),), length=length)
    end = start + length
    if (start < 0).any() or (length < 1).any() or (end > in_px).any():
        spans = torch.stack([start, end], dim=1).tolist()
        raise RangeError(
            f"resampling_matrix: start and end must lie in [0, {in_px}] and hold a pixel, "
            f"got {spans[:4]}"
        )

    shrink = length.double() / out_px  # [B]
    step = torch.arange(out_px, device=start.device) + 0.5
    if flip is not None:
        check_shape("resampling_matrix", (len(start),), flip=flip)
        step = torch.where(flip[:, None], step.flip(0), step)  # [B, S]
    centre = start[:, None] + step * shrink[:, None]  # [B, S]
    stretch = shrink.clamp(min=1)[:, None]

    # Only the pixels of a window round each centre can have a weight.
    reach_px = 2 * max(1.0, in_px / out_px)
    window = min(math.ceil(2 * reach_px) + 1, in_px)
    first = (centre - 2 * stretch).floor().clamp(0, in_px - window)  # [B, S]
    # Whole pixels and the rest apart, so that float32 is exact near the centre.
    whole = centre.floor()
    before, beside = (whole - first).float(), (whole + 0.5 - centre).float()
    pixel, before, beside, stretch, start, end = (
        part.to(device, non_blocking=True)[..., None]
        for part in (first.long(), before, beside, stretch.float(), start[:, None], end[:, None])
    )
    tap = torch.arange(window, device=pixel.device)
    pixel = pixel + tap  # [B, S, T]
    distance = (tap - before).add_(beside).div_(stretch)
    weight = _cubic(distance.abs_())
    weight *= (pixel >= start) & (pixel < end)
    weight /= weight.sum(dim=2, keepdim=True)
    matrix = weight.new_zeros(len(start), out_px, in_px)
    return matrix.scatter_(2, pixel, weight)


def _cubic(distance: Tensor) -> Tensor:
    """Return the cubic kernel at distances >= 0."""
    a = _SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance < 1, near, far).masked_fill_(distance >= 2, 0)
