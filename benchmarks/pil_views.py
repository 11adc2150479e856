"""Views made by PIL, one image at a time, from the numbers that batched ones are made from.

DINO's transforms as its published code composes them, with torchvision's PIL backend rewritten:
what ``patchwise.augment`` is compared with.
"""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from patchwise.augment.crop import Crops
from patchwise.augment.patch_photometric import OPS, PatchPhotometric
from patchwise.augment.photometric import Photometric


def crop(image: Image.Image, crops: Crops, at: int, size_px: int) -> Image.Image:
    """Cut, resize and mirror; RandomResizedCrop and RandomHorizontalFlip."""
    top, left, height, width = crops.boxes[at].tolist()
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((size_px, size_px), Image.Resampling.BICUBIC)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crops.flip[at] else image


def brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the hue on PIL's HSV of 8 bits, the turn cut to whole 255ths of a circle."""
    hues, saturations, values = image.convert("HSV").split()
    turned = np.asarray(hues) + np.uint8(int(turn * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturations, values)).convert("RGB")


def grayscale(image: Image.Image) -> Image.Image:
    gray = image.convert("L")
    return Image.merge("RGB", (gray, gray, gray))


def blur(image: Image.Image, sigma_px: float) -> Image.Image:
    """Three box blurs, PIL's GaussianBlur."""
    return image.filter(ImageFilter.GaussianBlur(sigma_px))


def recolour(image: Image.Image, params: Photometric, at: int) -> Image.Image:
    """Jitter in the drawn order, then grayscale, blur and solarise."""
    if params.jitter[at]:
        for op in params.order[at].tolist():
            change = (brightness, contrast, saturation, hue)[op]
            image = change(image, float(params.strength[at, op]))
    if params.grayscale[at]:
        image = grayscale(image)
    if params.blur[at]:
        image = blur(image, float(params.sigma_px[at]))
    return ImageOps.solarize(image) if params.solarise[at] else image


def recolour_tile(tile: Image.Image, params: PatchPhotometric, at: tuple[int, int]) -> Image.Image:
    """Recolour one patch. PIL's blur leaves two rows at each border as they are."""
    for op in params.order[at].tolist():
        if OPS[op] == "jitter":
            if params.hue_first[at]:
                tile = hue(tile, float(params.hue[at]))
            tile = brightness(tile, float(params.brightness[at]))
            if not params.hue_first[at]:
                tile = hue(tile, float(params.hue[at]))
        elif OPS[op] == "blur":
            tile = tile.filter(_upright_kernel(float(params.sigma_px[at])))
        elif OPS[op] == "sharpness" and params.sharpen[at]:
            tile = ImageEnhance.Sharpness(tile).enhance(params.sharpness)
        elif OPS[op] == "posterise" and params.posterise[at]:
            tile = ImageOps.posterize(tile, params.posterise_bits)
    return tile


def _upright_kernel(sigma_px: float) -> ImageFilter.Kernel:
    kernel = np.zeros((5, 5))
    kernel[:, 2] = np.exp(-0.5 * (np.arange(-2, 3) / max(sigma_px, 1e-3)) ** 2)
    return ImageFilter.Kernel((5, 5), (kernel / kernel.sum()).flatten().tolist())
