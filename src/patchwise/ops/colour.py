"""Colour changes of RGB images in [0, 1], each image with its own strength.

Source: the operations of PIL's ImageEnhance, ImageOps and ImageFilter, which torchvision keeps.
Differs: nothing is rounded to 8 bits, except where posterising asks for levels.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_choice, check_shape, check_within
from patchwise.errors import RangeError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
_LEAST_SIGMA_PX = 1e-3  # below it a blur is the identity in float32
_LEAST_WEIGHT = 1e-9  # of a pixel in a blur: products with subnormal numbers are very slow
_BLOCK_PX = 16  # neighbours that are blurred by one product

Images = Float[Tensor, "B 3 H W"]
PerImage = Float[Tensor, " B"]


def brightness(images: Images, factor: PerImage) -> Images:
    """Multiply by ``factor`` and clamp to [0, 1]; 1 changes nothing."""
    return (images * _per_image("brightness", images, factor=factor)).clamp_(0, 1)


def contrast(images: Images, factor: PerImage) -> Images:
    """Scale the distance from the image's mean luma by ``factor``; 1 changes nothing."""
    weight = _per_image("contrast", images, factor=factor)
    mean = _luma(images.mean(dim=(2, 3), keepdim=True))
    return _blend(mean, images, weight)


def saturation(images: Images, factor: PerImage) -> Images:
    """Scale the distance from each pixel's luma by ``factor``; 1 changes nothing."""
    return _blend(_luma(images), images, _per_image("saturation", images, factor=factor))


def grayscale(images: Images) -> Images:
    """Replace each channel by the luma, 0.299 R + 0.587 G + 0.114 B."""
    return _luma(images).expand_as(images).contiguous()


def hue(images: Images, turn: PerImage) -> Images:
    """Turn the hue of HSV by ``turn`` of a full circle; saturation and value stay.

    Gray pixels stay as they are; a third of a turn makes red green, green blue and blue red.
    """
    turn = _per_image("hue", images, turn=turn)[:, 0]
    red, green, blue = images.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - least

    # The way from red, in sixths of the circle, is (value - red + green + blue - 2 least) / chroma;
    # it leads towards green or towards blue.
    angle = (value - red).add_(green).add_(blue).sub_(least, alpha=2).copysign_(green - blue)
    angle.div_((6 * chroma).clamp_(min=torch.finfo(images.dtype).tiny))  # [-1/2, 1/2] circles
    angle.add_(turn + 1).frac_().mul_(6)  # [0, 6)

    turned = torch.empty_like(images)
    share = (angle - 3).abs_().sub_(1).clamp_(0, 1)
    torch.addcmul(least, chroma, share, out=turned[:, 0])
    for channel, peak in ((1, 2), (2, 4)):
        share = (2 - (angle - peak).abs_()).clamp_(0, 1)
        torch.addcmul(least, chroma, share, out=turned[:, channel])
    return turned


def solarise(images: Images, *, threshold: float = 128 / 255) -> Images:
    """Invert the values at and above ``threshold``."""
    return torch.where(images < threshold, images, 1 - images)


def posterise(images: Images, *, bits: int) -> Images:
    """Keep the highest ``bits`` of each channel's 8; values are rounded to 8 bits first."""
    check_within("posterise", 1, 8, bits=bits)
    step = 1 << (8 - bits)
    # Halves added before the cut round: no multiple of step lies between.
    return (images * (255 / step)).add_(0.5 / step).floor_().mul_(step / 255)


def sharpness(images: Images, factor: PerImage) -> Images:
    """Scale the distance from the smoothed image by ``factor``; 1 changes nothing, 0 smooths.

    Smoothed is the mean over 3 x 3 pixels with the middle one counted five times; the pixels of
    the border, and images of less than 3 x 3 pixels, stay as they are.
    """
    weight = _per_image("sharpness", images, factor=factor)
    if min(images.shape[2:]) < 3:
        return images.clone()
    inner = images[:, :, 1:-1, 1:-1]
    rows = images[:, :, :-2] + images[:, :, 1:-1]
    rows += images[:, :, 2:]
    smooth = rows[..., :-2] + rows[..., 1:-1]
    smooth += rows[..., 2:]
    smooth.add_(inner, alpha=4).mul_(1 / 13)
    sharpened = images.clone()
    sharpened[:, :, 1:-1, 1:-1] = _blend(smooth, inner, weight)
    return sharpened


def gaussian_blur(
    images: Images,
    sigma_px: PerImage,
    *,
    kernel_px: tuple[int, int],
    border: Literal["reflect", "edge"] = "reflect",
) -> Images:
    """Blur with a Gaussian sampled at whole pixels, cut to a window and normalised.

    Args:
        images: Images of any size; a window that is wider than the image is folded back into it.
        sigma_px: Standard deviation of each image's Gaussian; 0 changes nothing.
        kernel_px: Height and width of the window, odd; 1 leaves that axis alone.
        border: What lies beyond the image: its mirror image about the outermost pixels, or its
            outermost pixels repeated.

    Returns:
        Equal to the sum over the window to 1e-6: weights below 1e-9 of the middle's count as 0.

    Raises:
        RangeError: a window is not odd.
        ChoiceError: ``border`` is unknown.
    """
    check_shape("gaussian_blur", (len(images),), sigma_px=sigma_px)
    check_choice("gaussian_blur", ("reflect", "edge"), border=border)
    if any(px < 1 or px % 2 == 0 for px in kernel_px):
        raise RangeError(f"gaussian_blur: kernel_px must be odd and positive, got {kernel_px}")
    down, across = (px // 2 for px in kernel_px)
    if across:
        images = _blur_columns(images, sigma_px.to(images), across, border)
    if down:
        images = _blur_rows(images, sigma_px.to(images), down, border)
    return images


def _blur_rows(images: Tensor, sigma_px: Tensor, radius: int, border: str) -> Tensor:
    """Blur from row to row: products [block, window] @ [window, W] of each image and channel."""
    _, channels, height, width = images.shape
    blocks, band = _blur_band(sigma_px, radius, height, border)
    if blocks > 1:
        block_px, window_px = band.shape[1:]
        first = torch.arange(0, blocks * block_px, block_px, device=images.device)[:, None]
        at = first + torch.arange(window_px, device=images.device) - radius
        images = images.index_select(2, _inside(at.flatten(), height, border))
    band = band[:, None].expand(-1, channels * blocks, -1, -1).flatten(0, 1)
    blurred = torch.bmm(band, images.reshape(len(band), -1, width))
    return blurred.view(len(images), channels, -1, width)[:, :, :height]


def _blur_columns(images: Tensor, sigma_px: Tensor, radius: int, border: str) -> Tensor:
    """Blur from column to column: a product [3 * H * blocks, window] @ [window, block] an image."""
    width = images.shape[3]
    blocks, band = _blur_band(sigma_px, radius, width, border)
    windows = images
    if blocks > 1:
        block_px, window_px = band.shape[1:]
        at = torch.arange(blocks * block_px + 2 * radius, device=images.device) - radius
        at = _inside(at, width, border)
        before, after = at[:radius], at[radius + width :]
        padded = [images.index_select(3, before), images, images.index_select(3, after)]
        windows = torch.cat(padded, dim=3).unfold(3, window_px, block_px)
    windows = windows.reshape(len(images), -1, band.shape[2])
    blurred = torch.bmm(windows, band.mT).view(*images.shape[:3], -1)
    return blurred[..., :width]


def _blur_band(sigma_px: Tensor, radius: int, length: int, border: str) -> tuple[int, Tensor]:
    """Return the number of blocks of an axis, and how each weighs its window [B, block, window].

    The window goes ``radius`` beyond the block to both sides; that of a single block is the axis.
    """
    blocks = math.ceil(length / _BLOCK_PX)
    block_px = math.ceil(length / blocks)
    tap = torch.arange(-radius, radius + 1, device=sigma_px.device)
    kernel = tap / sigma_px.clamp(min=_LEAST_SIGMA_PX)[:, None]
    kernel = F.threshold(kernel.square_().mul_(-0.5).exp_(), _LEAST_WEIGHT, 0)  # [B, taps]
    kernel /= kernel.sum(dim=1, keepdim=True)
    # Row i is the kernel, i places to the right: of one line, in which it is repeated with a gap.
    window_px = block_px + 2 * radius
    line = F.pad(kernel, (0, block_px))[:, None].expand(-1, block_px, -1).flatten(1)
    band = line[:, : block_px * window_px].view(-1, block_px, window_px)
    if blocks == 1:
        at = torch.arange(window_px, device=band.device) - radius
        band = band @ F.one_hot(_inside(at, length, border), length).to(band)
    return blocks, band


def _inside(at: Tensor, length: int, border: str) -> Tensor:
    """Return the pixels that stand for those at ``at``, which may lie beyond the border."""
    if border == "edge" or length == 1:
        return at.clamp(0, length - 1)
    period = 2 * (length - 1)
    at = at.remainder(period)
    return torch.minimum(at, period - at)


def blur_radius(largest_sigma_px: float) -> int:
    """Return the radius of a window that holds three standard deviations to each side."""
    return math.ceil(3 * largest_sigma_px)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])  # [B, 1, H, W]


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Go from ``degenerate`` (factor 0) through ``images`` (1) and beyond."""
    return (images * factor).add_(degenerate * (1 - factor)).clamp_(0, 1)


def _per_image(caller: str, images: Tensor, **values: Tensor) -> Tensor:
    """Return the one named value, shaped to broadcast over [B, 3, H, W]."""
    check_shape(caller, (None, 3, None, None), images=images)
    check_shape(caller, (len(images),), **values)
    (value,) = values.values()
    return value.to(images)[:, None, None, None]
