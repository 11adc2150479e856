"""Colour changes that every patch of a view draws for itself. Nothing crosses a patch's border."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchwise.augment.draw import DrawKey, Purpose, as_float, between, factors
from patchwise.augment.photometric import change_some
from patchwise.checks import check_positive, check_shape
from patchwise.configs.views import PatchColourConfig
from patchwise.errors import ShapeError
from patchwise.ops import colour

OPS = ("jitter", "blur", "sharpness", "posterise")
BLUR_KERNEL_PX = (5, 1)  # high, wide
_DRAWS = 10  # of each patch


@dataclass(frozen=True)
class PatchPhotometric:
    """The colour changes of each patch, P patches an image, read row by row. Kept on the CPU."""

    order: Int[Tensor, "B P 4"]  # which of `OPS` comes first, second, ...
    hue_first: Bool[Tensor, "B P"]  # within the jitter: hue before brightness
    brightness: Float[Tensor, "B P"]
    hue: Float[Tensor, "B P"]
    sigma_px: Float[Tensor, "B P"]
    sharpen: Bool[Tensor, "B P"]
    posterise: Bool[Tensor, "B P"]
    sharpness: float
    posterise_bits: int

    @staticmethod
    def concatenate(parts: "Sequence[PatchPhotometric]") -> "PatchPhotometric":
        """Return the changes of several views of one config as one, view after view."""
        return PatchPhotometric(
            order=torch.cat([p.order for p in parts]),
            hue_first=torch.cat([p.hue_first for p in parts]),
            brightness=torch.cat([p.brightness for p in parts]),
            hue=torch.cat([p.hue for p in parts]),
            sigma_px=torch.cat([p.sigma_px for p in parts]),
            sharpen=torch.cat([p.sharpen for p in parts]),
            posterise=torch.cat([p.posterise for p in parts]),
            sharpness=parts[0].sharpness,
            posterise_bits=parts[0].posterise_bits,
        )


def sample_patch_photometric(
    key: DrawKey, num_patches: int, config: PatchColourConfig
) -> PatchPhotometric:
    """Draw the colour changes of each patch of one view of each image.

    Args:
        key: Of this view of these images.
        num_patches: Patches of the view, P.
        config: Chances and strengths.

    Source: Javidani et al. 2024, "PW-Self", arXiv:2310.18651, and its published settings.
    """
    check_positive("sample_patch_photometric", num_patches=num_patches)
    uniform = key.uniform(num_patches * _DRAWS, Purpose.PATCH_PHOTOMETRIC)
    uniform = uniform.reshape(len(key), num_patches, _DRAWS)
    return PatchPhotometric(
        order=torch.from_numpy(np.argsort(uniform[..., :4], axis=2)),
        hue_first=torch.from_numpy(uniform[..., 4] < 0.5),
        brightness=as_float(factors(config.brightness, uniform[..., 5])),
        hue=as_float(between((-config.hue, config.hue), uniform[..., 6])),
        sigma_px=as_float(between(config.blur_sigma_px, uniform[..., 7])),
        sharpen=torch.from_numpy(uniform[..., 8] < config.sharpness_prob),
        posterise=torch.from_numpy(uniform[..., 9] < config.posterise_prob),
        sharpness=config.sharpness,
        posterise_bits=config.posterise_bits,
    )


def apply_patch_photometric(
    images: Float[Tensor, "B 3 H W"], params: PatchPhotometric, patch_px: int
) -> Float[Tensor, "B 3 H W"]:
    """Recolour each patch_px x patch_px tile as if it were an image of its own.

    In each tile's own order: brightness and hue (in their own order); a vertical Gaussian blur, 5
    pixels high, mirrored at the tile's border; sharpness; posterising.

    Args:
        images: RGB in [0, 1]; sides are multiples of ``patch_px``.
        params: One entry per tile.
        patch_px: Side of a tile.

    Raises:
        ShapeError: the sides are no multiples of ``patch_px``, or ``params`` are of other tiles.
    """
    check_positive("apply_patch_photometric", patch_px=patch_px)
    batch, _, height, width = images.shape
    if height % patch_px or width % patch_px:
        raise ShapeError(
            f"apply_patch_photometric: image sides must be multiples of patch_px {patch_px}, "
            f"got {(height, width)}"
        )
    rows, columns = height // patch_px, width // patch_px
    check_shape("apply_patch_photometric", (batch, rows * columns), params=params.hue)

    tiles = images.reshape(batch, 3, rows, patch_px, columns, patch_px)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).contiguous()  # [BP, 3, p, p]
    order = params.order.flatten(0, 1)  # [BP, 4]
    for slot in range(len(OPS)):
        for op, name in enumerate(OPS):
            _apply_op(tiles, name, order[:, slot] == op, params)
    tiles = tiles.view(batch, rows, columns, 3, patch_px, patch_px)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def _apply_op(tiles: Tensor, name: str, chosen: Tensor, params: PatchPhotometric) -> None:
    """Apply one of `OPS` in place to the chosen tiles."""
    if name == "jitter":
        strengths = params.brightness.flatten(), params.hue.flatten()
        hue_first = params.hue_first.flatten()
        change_some(tiles, chosen & hue_first, _hue_then_brightness, *strengths)
        change_some(tiles, chosen & ~hue_first, _brightness_then_hue, *strengths)
    elif name == "blur":
        change_some(tiles, chosen, _blur, params.sigma_px.flatten())
    elif name == "sharpness":
        strength = torch.full(chosen.shape, params.sharpness)
        change_some(tiles, chosen & params.sharpen.flatten(), colour.sharpness, strength)
    else:
        change_some(
            tiles,
            chosen & params.posterise.flatten(),
            lambda some: colour.posterise(some, bits=params.posterise_bits),
        )


def _hue_then_brightness(tiles: Tensor, brightness: Tensor, hue: Tensor) -> Tensor:
    return colour.brightness(colour.hue(tiles, hue), brightness)


def _brightness_then_hue(tiles: Tensor, brightness: Tensor, hue: Tensor) -> Tensor:
    return colour.hue(colour.brightness(tiles, brightness), hue)


def _blur(tiles: Tensor, sigma_px: Tensor) -> Tensor:
    return colour.gaussian_blur(tiles, sigma_px, kernel_px=BLUR_KERNEL_PX)
