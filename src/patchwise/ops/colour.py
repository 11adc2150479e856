"""Colour changes of RGB images in [0, 1], each image with its own strength.

Source: the operations of PIL's ImageEnhance, ImageOps and ImageFilter, which torchvision keeps.
Differs: nothing is rounded to 8 bits, except where posterising asks for levels.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_choice, check_shape, check_within
from patchwise.errors import RangeError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
_LEAST_SIGMA_PX = 1e-3  # below it a blur is the identity in float32

Images = Float[Tensor, "B 3 H W"]
PerImage = Float[Tensor, " B"]


def brightness(images: Images, factor: PerImage) -> Images:
    """Multiply by ``factor`` and clamp to [0, 1]; 1 changes nothing."""
    return (images * _per_image("brightness", images, factor=factor)).clamp_(0, 1)


def contrast(images: Images, factor: PerImage) -> Images:
    """Scale the distance from the image's mean luma by ``factor``; 1 changes nothing."""
    mean = _luma(images).mean(dim=(1, 2, 3), keepdim=True)
    return _blend(mean, images, _per_image("contrast", images, factor=factor))


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
    shift = 6 * _per_image("hue", images, turn=turn)[:, 0]
    red, green, blue = images.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - least

    from_green = (blue - red).add_(chroma, alpha=2)
    from_blue = (red - green).add_(chroma, alpha=4)
    sector = torch.where(value == green, from_green, from_blue)
    sector = torch.where(value == red, green - blue, sector)  # hue in sixths, times chroma
    sector.div_(chroma.clamp(min=torch.finfo(images.dtype).tiny)).add_(shift)
    sector.sub_((sector / 6).floor_(), alpha=6)  # [0, 6)

    turned = torch.empty_like(images)
    red_share = (sector - 3).abs_().sub_(1).clamp_(0, 1)
    torch.addcmul(least, chroma, red_share, out=turned[:, 0])
    for channel, peak in ((1, 2), (2, 4)):
        share = (sector - peak).abs_().neg_().add_(2).clamp_(0, 1)
        torch.addcmul(least, chroma, share, out=turned[:, channel])
    return turned


def solarise(images: Images, *, threshold: float = 128 / 255) -> Images:
    """Invert the values at and above ``threshold``."""
    return torch.where(images < threshold, images, 1 - images)


def posterise(images: Images, *, bits: int) -> Images:
    """Keep the highest ``bits`` of each channel's 8; values are rounded to 8 bits first."""
    check_within("posterise", 1, 8, bits=bits)
    step = 2 ** (8 - bits)
    levels = (images * 255).round_().mul_(1 / step).floor_()
    return levels.mul_(step / 255)


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

    Raises:
        RangeError: a window is not odd.
        ChoiceError: ``border`` is unknown.
    """
    check_shape("gaussian_blur", (len(images),), sigma_px=sigma_px)
    check_choice("gaussian_blur", ("reflect", "edge"), border=border)
    if any(px < 1 or px % 2 == 0 for px in kernel_px):
        raise RangeError(f"gaussian_blur: kernel_px must be odd and positive, got {kernel_px}")
    down, across = (
        None if px == 1 else _blur_matrix(sigma_px.to(images), px // 2, length, border)
        for px, length in zip(kernel_px, images.shape[2:], strict=True)
    )
    if across is not None:  # [B, 3H, W] @ [B, W, W]
        images = torch.bmm(images.flatten(1, 2), across.mT).view(images.shape)
    if down is not None:
        images = torch.matmul(down[:, None], images)
    return images


def _blur_matrix(sigma_px: Tensor, radius: int, length: int, border: str) -> Tensor:
    """Return the blur of one axis [B, length, length]: row i weighs the pixels that make i."""
    tap = torch.arange(-radius, radius + 1, device=sigma_px.device)
    at = torch.arange(length, device=sigma_px.device)[:, None] + tap  # [length, taps]
    if border == "edge" or length == 1:
        at = at.clamp(0, length - 1)
    else:
        period = 2 * (length - 1)
        at = at.remainder(period)
        at = torch.minimum(at, period - at)
    kernel = tap / sigma_px.clamp(min=_LEAST_SIGMA_PX)[:, None]
    kernel = kernel.square_().mul_(-0.5).exp_()  # [B, taps]
    kernel /= kernel.sum(dim=1, keepdim=True)
    places = torch.zeros(2 * radius + 1, length * length, device=tap.device, dtype=kernel.dtype)
    row = torch.arange(length, device=tap.device)[:, None]
    places.scatter_(1, (row * length + at).mT, 1)
    return torch.mm(kernel, places).view(-1, length, length)


def blur_radius(largest_sigma_px: float) -> int:
    """Return the radius of a window that holds three standard deviations to each side."""
    return math.ceil(3 * largest_sigma_px)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])  # [B, 1, H, W]


def _blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Go from ``degenerate`` (factor 0) through ``images`` (1) and beyond."""
    blended = images - degenerate
    return blended.mul_(factor).add_(degenerate).clamp_(0, 1)


def _per_image(caller: str, images: Tensor, **values: Tensor) -> Tensor:
    """Return the one named value, shaped to broadcast over [B, 3, H, W]."""
    check_shape(caller, (None, 3, None, None), images=images)
    check_shape(caller, (len(images),), **values)
    (value,) = values.values()
    return value.to(images)[:, None, None, None]
