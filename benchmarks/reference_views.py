"""PW-Self's views by Pillow, one view of one image after the other, as the authors' pipeline does.

Source: Javidani et al. 2024, arXiv:2310.18651, and DINO's augmentations, arXiv:2104.14294.
Differs: the blur of a patch leaves its two outermost pixels on each side as they are.
"""

import math
from collections.abc import Callable
from random import Random

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from benchmarks.setting import Act, Setting
from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.configs.views import PatchColourConfig, ViewsConfig
from patchwise.normalisation import normalise

Picture = Image.Image
Change = Callable[[Picture], Picture]


def build_reference_views(setting: Setting) -> Act:
    """Return what makes all views of a batch, from decoded images to normalised tensors."""
    config = setting.config("pwself")
    views, random = config.method.views, Random(0)
    assert isinstance(views, ViewsConfig), "it was asked for"
    patch_colour = None
    if setting.recolour_patches:
        patch_colour = (PatchColourConfig(), config.backbone.patch_px)
    arrays = setting.images().pixels.movedim(1, -1).numpy()
    pictures = [Image.fromarray(array) for array in arrays]

    def run() -> list[Tensor]:
        count = GLOBAL_VIEWS + views.local_count
        return [
            torch.stack([make_view(each, view, views, random, patch_colour) for each in pictures])
            for view in range(count)
        ]

    return run


def make_view(
    picture: Picture,
    view: int,
    views: ViewsConfig,
    random: Random,
    patch_colour: tuple[PatchColourConfig, int] | None = None,
) -> Tensor:
    """Return one view of one image, normalised [3, S, S].

    Args:
        picture: The whole image.
        view: Its number; the first two are global.
        views: Sizes and chances.
        random: Drawn from.
        patch_colour: How patches are recoloured, and their side; None leaves them alone.
    """
    is_global = view < GLOBAL_VIEWS
    kind = view if is_global else GLOBAL_VIEWS
    side_px = views.global_px if is_global else views.local_px
    area_frac = views.global_area_frac if is_global else views.local_area_frac
    picture = picture.resize((views.base_px, views.base_px), Image.Resampling.BICUBIC)
    box = draw_box(picture.size, area_frac, views.aspect, random)
    picture = picture.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
    if random.random() < views.flip_prob:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < views.jitter_prob:
        strengths = (views.brightness, views.contrast, views.saturation, views.hue)
        picture = jitter(picture, strengths, random)
    if random.random() < views.grayscale_prob:
        picture = picture.convert("L").convert("RGB")
    if random.random() < views.blur_probs[kind]:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(*views.blur_sigma_px)))
    if random.random() < views.solarise_probs[kind]:
        picture = ImageOps.solarize(picture)
    if patch_colour is not None:
        picture = recolour_patches(picture, *patch_colour, random)
    pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).movedim(-1, 0)
    return normalise(pixels[None])[0]


def draw_box(
    size: tuple[int, int],
    area_frac: tuple[float, float],
    aspect: tuple[float, float],
    random: Random,
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop; the whole image if ten tries do not fit."""
    width, height = size
    for _ in range(10):
        area = width * height * random.uniform(*area_frac)
        ratio = math.exp(random.uniform(math.log(aspect[0]), math.log(aspect[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - high)
            return left, top, left + wide, top + high
    return 0, 0, width, height


def jitter(
    picture: Picture, strengths: tuple[float, float, float, float], random: Random
) -> Picture:
    """Change brightness, contrast, saturation and hue, in random order."""
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    order = [0, 1, 2, 3]
    random.shuffle(order)
    for which in order:
        strength = strengths[which]
        if strength == 0:
            continue
        if which == 3:
            picture = turn_hue(picture, random.uniform(-strength, strength))
        else:
            picture = enhancers[which](picture).enhance(random.uniform(1 - strength, 1 + strength))
    return picture


def turn_hue(picture: Picture, turn: float) -> Picture:
    """Turn the hue by a share of the full circle."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(round(turn * 255) % 256)
    bands = (Image.fromarray(turned.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", bands).convert("RGB")


def recolour_patches(
    picture: Picture, config: PatchColourConfig, patch_px: int, random: Random
) -> Picture:
    """Let every patch draw its own order and strength of colour changes."""
    result = picture.copy()
    for top in range(0, picture.height, patch_px):
        for left in range(0, picture.width, patch_px):
            tile = picture.crop((left, top, left + patch_px, top + patch_px))
            changes = _patch_changes(config, random)
            random.shuffle(changes)
            for change in changes:
                tile = change(tile)
            result.paste(tile, (left, top))
    return result


def _patch_changes(config: PatchColourConfig, random: Random) -> list[Change]:
    """Draw what is done to a patch."""
    strengths = (config.brightness, 0.0, 0.0, config.hue)
    sigma = random.uniform(*config.blur_sigma_px)
    column = [math.exp(-((row - 2) ** 2) / (2 * sigma**2)) for row in range(5)]
    kernel = [column[row] if place == 2 else 0.0 for row in range(5) for place in range(5)]
    changes: list[Change] = [
        lambda tile: jitter(tile, strengths, random),
        lambda tile: tile.filter(ImageFilter.Kernel((5, 5), kernel, sum(column))),
    ]
    if random.random() < config.sharpness_prob:
        changes.append(lambda tile: ImageEnhance.Sharpness(tile).enhance(config.sharpness))
    if random.random() < config.posterise_prob:
        changes.append(lambda tile: ImageOps.posterize(tile, config.posterise_bits))
    return changes
