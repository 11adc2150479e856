"""Large images seen through overlapping windows, whose scores are averaged.

Letters: P windows, S side of a window in pixels, H W pixels of the image, K classes, h w rows and
columns of patches.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from patchwise.configs.normalisation import IMAGENET

Place = tuple[int, int]  # top and left of a window


def window_places(size: tuple[int, int], *, window_px: int, stride_px: int) -> list[Place]:
    """Return where the windows lie that cover an image; the last ones end at its edges.

    Args:
        size: Height and width of the image, neither less than ``window_px``.
        window_px: Side of a window.
        stride_px: From one window to the next.

    >>> window_places((512, 700), window_px=512, stride_px=341)
    [(0, 0), (0, 188)]
    """
    tops, lefts = (
        [
            min(number * stride_px, side - window_px)
            for number in range(max(0, -(-(side - window_px) // stride_px)) + 1)
        ]
        for side in size
    )
    return [(top, left) for top in tops for left in lefts]


def cut_windows(
    image: UInt8[np.ndarray, "H W 3"], places: list[Place], *, window_px: int
) -> UInt8[Tensor, "P 3 S S"]:
    """Return the windows of an image."""
    parts = [image[top : top + window_px, left : left + window_px] for top, left in places]
    return torch.from_numpy(np.stack(parts)).movedim(-1, 1).contiguous()


def pad_to_patches(pixels: UInt8[Tensor, "B 3 H W"], *, patch_px: int) -> UInt8[Tensor, "B 3 _ _"]:
    """Add a frame in the mean colour, so that height and width are whole patches."""
    rows, columns = (-side % patch_px for side in pixels.shape[-2:])
    size = pixels.shape[-2] + rows, pixels.shape[-1] + columns
    return lay_on_mean(pixels, size, (rows // 2, columns // 2))


def lay_on_mean(
    pixels: UInt8[Tensor, "B 3 H W"], size: tuple[int, int], place: Place
) -> UInt8[Tensor, "B 3 _ _"]:
    """Lay images on larger ones that show nothing but the mean colour of ImageNet.

    All models see the same pixels: however a backbone's images are normalised, it is that colour.
    """
    if pixels.shape[-2:] == size:
        return pixels
    mean = (torch.tensor(IMAGENET.mean, device=pixels.device) * 255).round().to(torch.uint8)
    laid = mean[:, None, None].repeat(len(pixels), 1, *size)
    (top, left), (height, width) = place, pixels.shape[-2:]
    laid[:, :, top : top + height, left : left + width] = pixels
    return laid


def average_windows(
    maps: Float[Tensor, "P K h w"],
    places: list[Place],
    size: tuple[int, int],
    *,
    window_px: int,
) -> Float[Tensor, "K H W"]:
    """Return the scores of an image, each pixel's the mean over the windows in which it lies.

    The scores of every window are enlarged bilinearly to its pixels first.
    """
    total = maps.new_zeros(maps.shape[1], *size)
    count = maps.new_zeros(size)
    for part, (top, left) in zip(maps, places, strict=True):
        rows, columns = slice(top, top + window_px), slice(left, left + window_px)
        side = (window_px, window_px)
        total[:, rows, columns] += F.interpolate(part[None], size=side, mode="bilinear")[0]
        count[rows, columns] += 1
    return total / count
