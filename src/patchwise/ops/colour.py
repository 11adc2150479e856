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
    return (images * weight).add_(mean * (1 - weight)).clamp_(0, 1)


def saturation(images: Images, factor: PerImage) -> Images:
    """Scale the distance from each pixel's luma by ``factor``; 1 changes nothing."""
    weight = _per_image("saturation", images, factor=factor)
    return torch.lerp(_luma(images), images, weight).clamp_(0, 1)


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
    angle = (green + blue).sub_(red).add_(value).sub_(least, alpha=2)
    spare = green - blue
    angle.copysign_(spare)
    torch.mul(chroma, 6, out=spare).clamp_(min=torch.finfo(images.dtype).tiny)
    angle.div_(spare)  # [-1/2, 1/2] circles
    angle.add_(turn + 1).frac_().mul_(6)  # [0, 6)

    turned = torch.empty_like(images)
    torch.sub(angle, 3, out=spare).abs_().sub_(1).clamp_(0, 1)
    torch.addcmul(least, chroma, spare, out=turned[:, 0])
    for channel, peak in ((1, 2), (2, 4)):
        torch.sub(angle, peak, out=spare).abs_().neg_().add_(2).clamp_(0, 1)
        torch.addcmul(least, chroma, spare, out=turned[:, channel])
    return turned


def solarise(images: Images, *, threshold: float = 128 / 255) -> Images:
    """Invert the values at and above ``threshold``, which is positive."""
    # Of what is high x, of what is low 0: a choice by a mask takes ten times as long.
    high = F.threshold(images, threshold * (1 - 2e-7), 0)
    return torch.sub(images, high, alpha=2).add_(high.sign_())


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
    height, width = images.shape[2:]
    if min(height, width) < 3:
        return images.clone()
    # Sums of three neighbours, 0 at the border, as products: rows of few pixels are slow to add.
    down, across = (
        F.pad(images.new_ones(px - 2, px).triu_().tril_(2), (0, 0, 1, 1)) for px in (height, width)
    )
    inside = F.pad(images.new_full((height - 2, width - 2), -9), (1, 1, 1, 1))
    planes = images.flatten(0, 1)
    rows = (planes.reshape(-1, width) @ across.T).view_as(planes)
    apart = torch.bmm(down.expand(len(planes), -1, -1), rows).addcmul_(planes, inside)
    return apart.view_as(images).mul_((1 - weight) / 13).add_(images).clamp_(0, 1)


def gaussian_blur(
    images: Float[Tensor, "B C H W"],
    sigma_px: PerImage,
    *,
    kernel_px: tuple[int, int],
    border: Literal["reflect", "edge"] = "reflect",
) -> Float[Tensor, "B C H W"]:
    """Blur with a Gaussian sampled at whole pixels, cut to a window and normalised.

    Args:
        images: Images of any size and number of channels; a window that is wider than the image
            is folded back into it.
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
    if not len(images):
        return images
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
    # Which pixel each tap of each pixel of a block reads.
    read = tap[:, None] + torch.arange(block_px, device=tap.device)  # [taps, block]
    window_px = block_px + 2 * radius
    if blocks == 1:
        read, window_px = _inside(read, length, border), length
    else:
        read += radius
    places = F.one_hot(read, window_px).to(kernel)
    return blocks, (kernel @ places.flatten(1)).view(-1, block_px, window_px)


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
    weight = torch.tensor(_LUMA, dtype=images.dtype).to(images.device, non_blocking=True)
    luma = torch.bmm(weight.expand(len(images), 1, 3), images.flatten(2))
    return luma.view(-1, 1, *images.shape[2:])


def _per_image(caller: str, images: Tensor, **values: Tensor) -> Tensor:
    """Return the one named value, shaped to broadcast over [B, 3, H, W]."""
    check_shape(caller, (None, 3, None, None), images=images)
    check_shape(caller, (len(images),), **values)
    (value,) = values.values()
    return value.to(images)[:, None, None, None]
