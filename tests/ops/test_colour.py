"""Colour operations against the same formulas pixel by pixel, against PIL, and at their limits."""

import colorsys
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from patchwise.errors import ChoiceError, RangeError, ShapeError
from patchwise.ops import colour

Pixel = tuple[float, float, float]
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
FACTORS = torch.tensor([0.0, 0.3, 1.0, 1.7])


def images(batch: int = 4, height: int = 7, width: int = 6, seed: int = 0) -> torch.Tensor:
    """Random pixels; some are gray, black, white, or have two equal channels."""
    pixels = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
    pixels[:, :, 0, 0] = 0
    pixels[:, :, 0, 1] = 1
    pixels[:, :, 0, 2] = pixels[:, :1, 0, 2]
    for at, channel in enumerate(range(3)):
        pixels[:, channel, 1, at] = pixels[:, (channel + 1) % 3, 1, at]
    return pixels


def clamp(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def luma(pixel: Pixel) -> float:
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def by_pixel(pixels: torch.Tensor, change: Callable[[Pixel], Pixel]) -> torch.Tensor:
    """Apply a function to each pixel of one image."""
    result = torch.empty_like(pixels)
    for y in range(pixels.shape[1]):
        for x in range(pixels.shape[2]):
            red, green, blue = pixels[:, y, x].tolist()
            result[:, y, x] = torch.tensor(change((red, green, blue)))
    return result


def brightness_reference(image: torch.Tensor, factor: float) -> torch.Tensor:
    return by_pixel(
        image, lambda p: (clamp(factor * p[0]), clamp(factor * p[1]), clamp(factor * p[2]))
    )


def blend(pixel: Pixel, gray: float, factor: float) -> Pixel:
    red, green, blue = (clamp(factor * value + (1 - factor) * gray) for value in pixel)
    return red, green, blue


def contrast_reference(image: torch.Tensor, factor: float) -> torch.Tensor:
    lumas = [luma(tuple(p)) for p in image.flatten(1).T.tolist()]
    mean = sum(lumas) / len(lumas)
    return by_pixel(image, lambda p: blend(p, mean, factor))


def saturation_reference(image: torch.Tensor, factor: float) -> torch.Tensor:
    return by_pixel(image, lambda p: blend(p, luma(p), factor))


def hue_reference(image: torch.Tensor, turn: float) -> torch.Tensor:
    def turned(pixel: Pixel) -> Pixel:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)

    return by_pixel(image, turned)


def sharpness_reference(image: torch.Tensor, factor: float) -> torch.Tensor:
    result = image.clone()
    for channel in range(3):
        for y in range(1, image.shape[1] - 1):
            for x in range(1, image.shape[2] - 1):
                near = image[channel, y - 1 : y + 2, x - 1 : x + 2].flatten().tolist()
                smooth = (sum(near) + 4 * near[4]) / 13
                result[channel, y, x] = clamp(factor * near[4] + (1 - factor) * smooth)
    return result


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (colour.brightness, brightness_reference),
        (colour.contrast, contrast_reference),
        (colour.saturation, saturation_reference),
        (colour.sharpness, sharpness_reference),
    ],
)
def test_factors_equal_the_plain_loops(
    change: Change, reference: Callable[[torch.Tensor, float], torch.Tensor]
) -> None:
    batch = images()
    expected = [reference(image, f) for image, f in zip(batch, FACTORS.tolist(), strict=True)]
    torch.testing.assert_close(change(batch, FACTORS), torch.stack(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("turn", [-0.5, -0.31, -0.1, 0.0, 0.02, 0.25, 0.5])
def test_hue_equals_the_plain_loops(turn: float) -> None:
    batch = images(2)
    expected = torch.stack([hue_reference(image, turn) for image in batch])
    turned = colour.hue(batch, torch.full((2,), turn))
    torch.testing.assert_close(turned, expected, atol=2e-6, rtol=0)


def test_a_third_of_a_turn_moves_the_channels_on() -> None:
    batch = images()
    third = torch.full((4,), 1 / 3)
    torch.testing.assert_close(colour.hue(batch, third), batch.roll(1, dims=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "neutral"),
    [
        (colour.brightness, 1.0),
        (colour.contrast, 1.0),
        (colour.saturation, 1.0),
        (colour.sharpness, 1.0),
        (colour.hue, 0.0),
        (lambda x, s: colour.gaussian_blur(x, s, kernel_px=(5, 7)), 0.0),
    ],
)
def test_neutral_strengths_change_nothing(change: Change, neutral: float) -> None:
    batch = images()
    changed = change(batch, torch.full((4,), neutral))
    torch.testing.assert_close(changed, batch, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        colour.brightness,
        colour.contrast,
        colour.saturation,
        colour.sharpness,
        colour.hue,
        lambda x, s: colour.gaussian_blur(x, s, kernel_px=(5, 7)),
    ],
)
def test_images_do_not_see_each_other_and_stay_as_they_were(change: Change) -> None:
    batch = images()
    before = batch.clone()
    together = change(batch, FACTORS)
    assert torch.equal(batch, before)
    assert (together >= 0).all()
    assert (together <= 1).all()
    for image in range(4):
        alone = change(batch[image : image + 1], FACTORS[image : image + 1])
        torch.testing.assert_close(together[image : image + 1], alone, atol=1e-6, rtol=0)


def as_pil(batch: torch.Tensor) -> list[Image.Image]:
    pixels = (batch * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image) for image in pixels]


def as_levels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32)).permute(2, 0, 1)


def on_levels(batch: torch.Tensor) -> torch.Tensor:
    return (batch * 255).round() / 255


@pytest.mark.parametrize(
    ("change", "enhance", "levels"),
    [
        (colour.brightness, ImageEnhance.Brightness, 1),
        (colour.contrast, ImageEnhance.Contrast, 2),
        (colour.saturation, ImageEnhance.Color, 2),
        (colour.sharpness, ImageEnhance.Sharpness, 2),
    ],
)
def test_agrees_with_pil_up_to_its_rounding(change: Change, enhance: Any, levels: float) -> None:
    batch = on_levels(images(4, 20, 17))
    changed = change(batch, FACTORS) * 255
    for image, factor, ours in zip(as_pil(batch), FACTORS.tolist(), changed, strict=True):
        theirs = as_levels(enhance(image).enhance(factor))
        assert (ours - theirs).abs().max() <= levels


def test_grayscale_solarise_and_posterise_agree_with_pil() -> None:
    ramp = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    batch = torch.cat([ramp / 255, on_levels(images(1, 16, 16))])
    for image, gray, inverted in zip(
        as_pil(batch), colour.grayscale(batch), colour.solarise(batch), strict=True
    ):
        assert (gray * 255 - as_levels(image.convert("L"))).abs().max() <= 1
        inverted_levels = as_levels(ImageOps.solarize(image))
        torch.testing.assert_close(inverted * 255, inverted_levels, atol=1e-3, rtol=0)
    for bits in range(1, 9):
        for image, coarse in zip(as_pil(batch), colour.posterise(batch, bits=bits), strict=True):
            expected = as_levels(ImageOps.posterize(image, bits))
            torch.testing.assert_close(coarse * 255, expected, atol=1e-3, rtol=0)


def test_grayscale_is_the_luma_in_every_channel() -> None:
    batch = images()
    expected = torch.stack([by_pixel(image, lambda p: (luma(p),) * 3) for image in batch])
    torch.testing.assert_close(colour.grayscale(batch), expected, atol=1e-6, rtol=0)


def test_images_too_small_to_sharpen_stay() -> None:
    batch = images(4, 2, 5)
    assert torch.equal(colour.sharpness(batch, FACTORS), batch)


def blur_reference(
    image: torch.Tensor, sigma: float, kernel: tuple[int, int], border: str
) -> torch.Tensor:
    """Two-dimensional sum over the window, walking back wherever it leaves the image."""

    def inside(at: int, length: int) -> int:
        if border == "edge" or length == 1:
            return min(max(at, 0), length - 1)
        while not 0 <= at < length:
            at = -at if at < 0 else 2 * (length - 1) - at
        return at

    radii = [px // 2 for px in kernel]
    result = torch.zeros_like(image)
    height, width = image.shape[1:]
    total = 0.0
    for dy in range(-radii[0], radii[0] + 1):
        for dx in range(-radii[1], radii[1] + 1):
            weight = math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
            total += weight
            for y in range(height):
                for x in range(width):
                    result[:, y, x] += (
                        weight * image[:, inside(y + dy, height), inside(x + dx, width)]
                    )
    return result / total


@pytest.mark.parametrize("border", ["reflect", "edge"])
@pytest.mark.parametrize("kernel", [(5, 1), (1, 7), (3, 5)])
@pytest.mark.parametrize("size", [(7, 6), (4, 3), (2, 2), (37, 2), (3, 35), (1, 5), (4, 1)])
def test_blur_equals_the_plain_loops(
    size: tuple[int, int], kernel: tuple[int, int], border: Any
) -> None:
    batch, sigma = images(2, 37, 35)[..., : size[0], : size[1]], torch.tensor([0.6, 2.0])
    expected = [
        blur_reference(image, float(s), kernel, border)
        for image, s in zip(batch, sigma, strict=True)
    ]
    blurred = colour.gaussian_blur(batch, sigma, kernel_px=kernel, border=border)
    torch.testing.assert_close(blurred, torch.stack(expected), atol=1e-5, rtol=0)


def test_blurs_hold_no_subnormal_weights() -> None:
    """A white line, blurred by little: what is left far from it is 0, not hardly more."""
    line = torch.zeros(1, 3, 40, 40)
    line[..., 20] = 1
    for sigma_px in (0.3, 0.45, 0.5):
        blurred = colour.gaussian_blur(line, torch.tensor([sigma_px]), kernel_px=(13, 13))
        left = blurred[blurred > 0]
        assert left.min() > 1e-10
        assert left.max() > 0.5


def test_reflect_blur_is_torch_padding_and_convolution() -> None:
    batch, sigma = images(1, 20, 20), torch.tensor([1.3])
    tap = torch.arange(-4, 5).float()
    kernel = torch.exp(-0.5 * (tap / 1.3) ** 2)
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    padded = torch.nn.functional.pad(batch, (4, 4, 4, 4), mode="reflect")
    expected = torch.nn.functional.conv2d(padded.movedim(1, 0), kernel[None, None]).movedim(0, 1)
    blurred = colour.gaussian_blur(batch, sigma, kernel_px=(9, 9))
    torch.testing.assert_close(blurred, expected, atol=1e-6, rtol=0)


def test_a_single_pixel_has_nothing_to_blur_with() -> None:
    pixel = torch.full((1, 3, 1, 1), 0.3)
    for border in ("reflect", "edge"):
        blurred = colour.gaussian_blur(pixel, torch.ones(1), kernel_px=(13, 13), border=border)
        torch.testing.assert_close(blurred, pixel)


def test_no_images_are_no_blurred_images() -> None:
    none = torch.zeros(0, 3, 40, 8)
    assert colour.gaussian_blur(none, torch.zeros(0), kernel_px=(7, 7)).shape == none.shape


def test_the_window_holds_three_deviations() -> None:
    assert [colour.blur_radius(sigma) for sigma in (0.0, 0.3, 2.0, 2.1)] == [0, 1, 6, 7]


@pytest.mark.bad_input
def test_wrong_arguments_are_named() -> None:
    batch, one = images(2), torch.ones(1)
    for change in (colour.brightness, colour.contrast, colour.saturation, colour.sharpness):
        name = f"^{change.__name__}: factor must have shape \\(2\\), got \\(1,\\)"
        with pytest.raises(ShapeError, match=name):
            change(batch, one)
    with pytest.raises(ShapeError, match=r"^hue: turn must have shape \(2\), got \(1,\)"):
        colour.hue(batch, one)
    with pytest.raises(ShapeError, match=r"^hue: images must have shape \(any, 3, any, any\), got"):
        colour.hue(batch[:, :2], torch.ones(2))
    with pytest.raises(ShapeError, match=r"^gaussian_blur: sigma_px must have shape \(2\), got"):
        colour.gaussian_blur(batch, one, kernel_px=(3, 3))
    with pytest.raises(RangeError, match=r"kernel_px must be odd and positive, got \(3, 4\)"):
        colour.gaussian_blur(batch, torch.ones(2), kernel_px=(3, 4))
    with pytest.raises(ChoiceError, match="border must be one of edge, reflect, got 'reflet'"):
        colour.gaussian_blur(batch, torch.ones(2), kernel_px=(3, 3), border="reflet")  # type: ignore[arg-type]
    with pytest.raises(RangeError, match=r"^posterise: bits must lie in \[1, 8\], got 0"):
        colour.posterise(batch, bits=0)
