"""How far views are from PIL's, in grey levels of 255: each operation alone, and all of them.

    PATCHWISE_DATA=FOLDER python -m benchmarks.pil_differences

Means of absolute differences over all pixels. Single operations begin with the same pixels of 8
bits; PIL rounds to 8 bits after each, the library never does.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks import pil_views
from benchmarks.photographs import Picture, are_there, pictures
from patchwise.augment.crop import Crops, apply_crops, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.augment.photometric import apply_photometric, sample_photometric
from patchwise.configs.views import ViewsConfig
from patchwise.data.images import collate
from patchwise.ops import colour
from patchwise.types import ImageBatch

VIEWS = ViewsConfig()
SIGMA_PX = 1.2
Levels = NDArray[np.float64]  # [B, H, W, 3], of 255
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ByPIL = Callable[[Image.Image, float], Image.Image]


def blur(images: torch.Tensor, sigma_px: torch.Tensor) -> torch.Tensor:
    return colour.gaussian_blur(images, sigma_px, kernel_px=(13, 13))


FACTORS: dict[str, tuple[Change, ByPIL]] = {
    "brightness": (colour.brightness, pil_views.brightness),
    "contrast": (colour.contrast, pil_views.contrast),
    "saturation": (colour.saturation, pil_views.saturation),
}


def as_images(views: torch.Tensor) -> list[Image.Image]:
    """Round views in [0, 1] to 8 bits."""
    pixels = (views * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [Image.fromarray(image) for image in pixels]


def as_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return images of one size in [0, 1], [B, 3, H, W]."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()


def levels(views: torch.Tensor) -> Levels:
    return views.permute(0, 2, 3, 1).double().numpy() * 255


def mean_difference(views: torch.Tensor, images: Sequence[Image.Image]) -> float:
    return float(np.abs(levels(views) - np.stack([np.asarray(each) for each in images])).mean())


def draw_crops(batch: ImageBatch, view: int) -> tuple[Crops, int]:
    """Draw the crops of one view; return them and the view's side."""
    key = DrawKey(0, 0, batch.ids.numpy(), view)
    area = VIEWS.global_area_frac if view < 2 else VIEWS.local_area_frac
    crops = sample_crops(batch.sizes, key, area_frac=area, aspect=VIEWS.aspect)
    return crops, VIEWS.global_px if view < 2 else VIEWS.local_px


def of_view(photos: Sequence[Picture], view: int, *, recoloured: bool) -> float:
    """Return the difference of one view, cropped alone or recoloured too."""
    batch = collate(photos, list(range(len(photos))), epoch=0)
    crops, size_px = draw_crops(batch, view)
    ours = apply_crops(batch.pixels, batch.sizes, crops, size_px=size_px)
    theirs = [
        pil_views.crop(Image.fromarray(photo), crops, at, size_px)
        for at, photo in enumerate(photos)
    ]
    if recoloured:
        kind = min(view, 2)
        key = DrawKey(0, 0, batch.ids.numpy(), view)
        params = sample_photometric(
            key, VIEWS, blur_prob=VIEWS.blur_probs[kind], solarise_prob=VIEWS.solarise_probs[kind]
        )
        ours = apply_photometric(ours, params)
        theirs = [pil_views.recolour(image, params, at) for at, image in enumerate(theirs)]
    return mean_difference(ours, theirs)


def gaussian(image: Levels, sigma_px: float, radius: int) -> Levels:
    """Blur [H, W, 3] by a Gaussian in a window, mirrored at the border, in double precision."""
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        beside = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(image, beside, mode="reflect")
        length = image.shape[axis]
        image = sum(
            (w * padded.take(range(t, t + length), axis) for t, w in enumerate(kernel)),
            start=np.zeros_like(image),
        )
    return image


def of_operations(photos: Sequence[Picture]) -> dict[str, float]:
    """Return the difference of each operation, on whole photographs shrunk to 224 px."""
    shrunk = [Image.fromarray(photo).resize((224, 224)) for photo in photos]
    batch = as_tensor(shrunk)

    def difference(ours: Change, by_pil: ByPIL, value: float, pil_value: float) -> float:
        changed = ours(batch, torch.full((len(batch),), value))
        return mean_difference(changed, [by_pil(image, pil_value) for image in shrunk])

    found = {
        f"{name} {value}": difference(*both, value, value)
        for name, both in FACTORS.items()
        for value in (0.6, 1.4)
    }
    for turn in (-0.1, 0.05, 0.1):
        found[f"hue {turn}"] = difference(colour.hue, pil_views.hue, turn, turn)
        # PIL turns by a whole number, cut from 255ths of a circle, of which it takes 256 for one.
        exact = int(turn * 255) / 256
        found[f"hue {turn}, cut as PIL cuts it"] = difference(
            colour.hue, pil_views.hue, exact, turn
        )
    found["grayscale"] = mean_difference(
        colour.grayscale(batch), [pil_views.grayscale(image) for image in shrunk]
    )
    found["solarise"] = mean_difference(
        colour.solarise(batch), [ImageOps.solarize(image) for image in shrunk]
    )
    found["blur"] = difference(blur, pil_views.blur, SIGMA_PX, SIGMA_PX)
    blurred = levels(blur(batch, torch.full((len(batch),), SIGMA_PX)))
    exact_blur = np.stack([gaussian(each, SIGMA_PX, 6) for each in levels(batch)])
    found["blur, a Gaussian in double"] = float(np.abs(blurred - exact_blur).mean())
    return found


def differences(photos: Sequence[Picture]) -> dict[str, float]:
    """Return mean absolute differences in grey levels, by what was done."""
    names = {0: "global, 1st", 1: "global, 2nd", 2: "local"}
    found = {f"crop of {n}": of_view(photos, v, recoloured=False) for v, n in names.items()}
    found |= of_operations(photos)
    return found | {f"all of {n}": of_view(photos, v, recoloured=True) for v, n in names.items()}


def main() -> None:
    """Print a table."""
    print(f"16 {'photographs' if are_there() else 'synthetic scenes'}, grey levels of 255")
    for name, value in differences(pictures(16)).items():
        print(f"{name:32s} {value:.3f}")


if __name__ == "__main__":
    main()
