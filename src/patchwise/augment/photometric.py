"""Colour changes of whole views. Sampling and applying are two functions."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchwise.augment.draw import DrawKey, Purpose, as_float, between, factors
from patchwise.checks import check_shape, check_within
from patchwise.configs.views import MultiCropConfig
from patchwise.ops import colour

JITTER = ("brightness", "contrast", "saturation", "hue")
# Values changed at a time, most: by which a processor's cache is kept, or a GPU busy.
_VALUES = {"cpu": 1 << 19, "cuda": 1 << 26}


@dataclass(frozen=True)
class Photometric:
    """The colour changes of each image. Kept on the CPU, which decides what is to be done."""

    jitter: Bool[Tensor, " B"]  # whether the four ops of `JITTER` are done at all
    order: Int[Tensor, "B 4"]  # which of them comes first, second, ...
    strength: Float[Tensor, "B 4"]  # factors of the first three, turn of the hue; not in order
    grayscale: Bool[Tensor, " B"]
    blur: Bool[Tensor, " B"]
    sigma_px: Float[Tensor, " B"]
    solarise: Bool[Tensor, " B"]
    blur_radius_px: int  # of the window

    def __len__(self) -> int:
        return len(self.jitter)

    @staticmethod
    def concatenate(parts: "Sequence[Photometric]") -> "Photometric":
        """Return the changes of several views as one, view after view."""
        return Photometric(
            jitter=torch.cat([p.jitter for p in parts]),
            order=torch.cat([p.order for p in parts]),
            strength=torch.cat([p.strength for p in parts]),
            grayscale=torch.cat([p.grayscale for p in parts]),
            blur=torch.cat([p.blur for p in parts]),
            sigma_px=torch.cat([p.sigma_px for p in parts]),
            solarise=torch.cat([p.solarise for p in parts]),
            blur_radius_px=max(p.blur_radius_px for p in parts),
        )


def sample_photometric(
    key: DrawKey,
    views: MultiCropConfig,
    *,
    blur_prob: float,
    solarise_prob: float,
    blur_radius_px: int | None = None,
) -> Photometric:
    """Draw the colour changes of one view of each image.

    Args:
        key: Of this view of these images.
        views: Chances and strengths of the changes that all views share.
        blur_prob: Chance of a Gaussian blur in this view.
        solarise_prob: Chance of solarising this view.
        blur_radius_px: Of the blur's window; None: three of the largest standard deviations.

    Source: Caron et al. 2021, "DINO", arXiv:2104.14294, after BYOL; the jitter is torchvision's
    ColorJitter.
    """
    check_within("sample_photometric", 0, 1, blur_prob=blur_prob, solarise_prob=solarise_prob)
    if blur_radius_px is None:
        blur_radius_px = colour.blur_radius(max(views.blur_sigma_px))
    uniform = key.uniform(13, Purpose.PHOTOMETRIC)
    strength = np.stack(
        [
            factors(views.brightness, uniform[:, 0]),
            factors(views.contrast, uniform[:, 1]),
            factors(views.saturation, uniform[:, 2]),
            between((-views.hue, views.hue), uniform[:, 3]),
        ],
        axis=1,
    )

    def happens(column: int, prob: float) -> Tensor:
        return torch.from_numpy(uniform[:, column] < prob)

    return Photometric(
        jitter=happens(8, views.jitter_prob),
        order=torch.from_numpy(np.argsort(uniform[:, 4:8], axis=1)),
        strength=as_float(strength),
        grayscale=happens(9, views.grayscale_prob),
        blur=happens(10, blur_prob),
        sigma_px=as_float(between(views.blur_sigma_px, uniform[:, 11])),
        solarise=happens(12, solarise_prob),
        blur_radius_px=blur_radius_px,
    )


def apply_photometric(
    images: Float[Tensor, "B 3 H W"], params: Photometric
) -> Float[Tensor, "B 3 H W"]:
    """Jitter, make gray, blur and solarise each image as ``params`` say, in this order.

    Args:
        images: RGB in [0, 1].
        params: One entry per image.

    Raises:
        ShapeError: ``params`` are not of as many images.

    Differs: the blur is a Gaussian in a window; PIL's, which DINO uses, is three box blurs.
    """
    check_shape("apply_photometric", (len(params), 3, None, None), images=images)
    result = images.clone()
    _jitter(result, params)
    window = 2 * params.blur_radius_px + 1
    blur = functools.partial(colour.gaussian_blur, kernel_px=(window, window))
    change_some(result, params.grayscale, colour.grayscale)
    change_some(result, params.blur, blur, params.sigma_px)
    change_some(result, params.solarise, colour.solarise)
    return result


def _jitter(images: Tensor, params: Photometric) -> None:
    """Change brightness, contrast, saturation and hue in place: images of one order together."""
    apply = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0])
    for order in torch.unique(params.order[params.jitter], dim=0):
        chosen = params.jitter & (params.order == order).all(dim=1)
        moved = (params.strength[chosen] != neutral).any(dim=0)
        ops = [op for op in order.tolist() if moved[op]]

        def change(some: Tensor, *strengths: Tensor, ops: list[int] = ops) -> Tensor:
            for op in ops:
                some = apply[op](some, strengths[op])
            return some

        change_some(images, chosen, change, *params.strength.T)


def change_some(
    images: Tensor, chosen: Tensor, change: Callable[..., Tensor], *strengths: Tensor
) -> None:
    """Apply ``change(images, *strengths)`` to the chosen images, in place.

    Args:
        images: Any number of images, B.
        chosen: Which of them [B]; on the CPU, so that a GPU need not be waited for.
        change: Takes the chosen images and their strengths, returns them changed.
        strengths: Values of all images, each [B].
    """
    if not chosen.any():
        return
    most = _VALUES.get(images.device.type, _VALUES["cpu"])
    number = max(1, most // images[0].numel())
    for part in torch.split(chosen.nonzero()[:, 0], number):
        values = [each[part].to(images.device, non_blocking=True) for each in strengths]
        index = part.to(images.device, non_blocking=True)
        images.index_copy_(0, index, change(images.index_select(0, index), *values))
