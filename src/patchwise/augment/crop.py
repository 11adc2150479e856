"""Random resized crops of whole batches. Sampling, applying and locating are three functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from patchwise.augment.draw import DrawKey, Purpose, between
from patchwise.checks import check_positive, check_shape, check_within
from patchwise.errors import RangeError, ShapeError
from patchwise.ops.resample import resample_boxes

_TRIES = 10
BOX_DRAWS = 2 * _TRIES + 2  # numbers that a box is made of


@dataclass(frozen=True)
class Crops:
    """One crop per image, in whole pixels of the image; y down, x right."""

    boxes: Int[Tensor, "B 4"]  # top, left, height, width
    flip: Bool[Tensor, " B"]  # left-right, after cropping

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def concatenate(parts: "Sequence[Crops]") -> "Crops":
        """Return the crops of several views as one, view after view."""
        return Crops(torch.cat([p.boxes for p in parts]), torch.cat([p.flip for p in parts]))


def sample_crops(
    sizes: Int[Tensor, "B 2"],
    key: DrawKey,
    *,
    area_frac: tuple[float, float],
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    flip_prob: float = 0.5,
) -> Crops:
    """Draw one crop per image.

    Ten times, draw an area uniformly and a width / height log-uniformly, and keep the first pair
    that fits into the image; its place is uniform over those where it fits. If none fits, take
    the largest centred box of an allowed width / height.

    Args:
        sizes: Height and width of each image, pixels.
        key: Of this view of these images.
        area_frac: Least and most area, as a share of the image's.
        aspect: Least and most width / height.
        flip_prob: Chance of a left-right flip, in [0, 1].

    Returns:
        Crops on the CPU; boxes lie inside their images and hold at least one pixel.

    Raises:
        ShapeError: ``sizes`` and the key are not of as many images.
        RangeError: a limit is out of range, or an image is empty.

    Source: Szegedy et al. 2015, "Inception crop", arXiv:1409.4842; the rounding is that of
    torchvision's RandomResizedCrop.
    Differs: from torchvision, in the stream of random numbers alone.
    """
    check_shape("sample_crops", (len(key), 2), sizes=sizes)
    check_within("sample_crops", 0, 1, least_area_frac=area_frac[0], most_area_frac=area_frac[1])
    check_within("sample_crops", 0, 1, flip_prob=flip_prob)
    check_positive("sample_crops", least_aspect=aspect[0], most_aspect=aspect[1])
    if (sizes < 1).any():
        raise RangeError(f"sample_crops: sizes must be positive, got {int(sizes.min())}")

    image = sizes.cpu().numpy().astype(np.int64)
    uniform = key.uniform(BOX_DRAWS + 1, Purpose.CROP)
    return Crops(
        boxes=torch.from_numpy(random_boxes(image, uniform, area_frac, aspect)),
        flip=torch.from_numpy(uniform[:, BOX_DRAWS] < flip_prob),
    )


def random_boxes(
    image: NDArray[np.int64],
    uniform: NDArray[np.float64],
    area_frac: tuple[float, float],
    aspect: tuple[float, float],
) -> NDArray[np.int64]:
    """Return the boxes of `sample_crops`, each made of `BOX_DRAWS` numbers in [0, 1).

    Args:
        image: Height and width of the image of each box [N, 2].
        uniform: Numbers [N, BOX_DRAWS]; more of them are left alone.
        area_frac: Least and most area, as a share of the image's.
        aspect: Least and most width / height.

    Returns:
        Top, left, height and width [N, 4].
    """
    area = between(area_frac, uniform[:, :_TRIES]) * image.prod(axis=1)[:, None]
    log_aspect = (math.log(aspect[0]), math.log(aspect[1]))
    ratio = np.exp(between(log_aspect, uniform[:, _TRIES : 2 * _TRIES]))
    tried = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=2)))  # [N, tries, 2]
    fits = ((tried > 0) & (tried <= image[:, None])).all(axis=2)  # [N, tries]

    box = tried[np.arange(len(image)), fits.argmax(axis=1)].astype(np.int64)
    found = fits.any(axis=1)[:, None]
    box = np.where(found, box, _largest_box(image, aspect))  # [N, 2]
    corner = np.floor(uniform[:, BOX_DRAWS - 2 : BOX_DRAWS] * (image - box + 1)).astype(np.int64)
    corner = np.where(found, corner, (image - box) // 2)
    return np.concatenate([corner, box], axis=1)


def apply_crops(
    pixels: UInt8[Tensor, "B 3 H W"],
    sizes: Int[Tensor, "B 2"],
    crops: Crops,
    *,
    size_px: int,
) -> Float[Tensor, "VB 3 size_px size_px"]:
    """Cut the crops out, resize each to ``size_px`` square (antialiased bicubic), and flip.

    Args:
        pixels: Padded images.
        sizes: Height and width of each image without padding.
        crops: One crop per image, or those of V views one view after the other (view-major).
        size_px: Side of the result.

    Returns:
        Values in [0, 1], on the device of ``pixels``, in the order of ``crops``; they are not
        rounded to 8 bits. A crop of size_px x size_px pixels is cut out as it is.

    Raises:
        ShapeError: the number of crops is no multiple of the number of images.
        RangeError: a crop does not lie inside its image.

    Differs: on processors with matrix units (AMX) factors are rounded to bfloat16, which moves
    values by 0.12 of 255 grey levels on average; PIL rounds to 8 bits after each axis.
    """
    check_positive("apply_crops", size_px=size_px)
    check_shape("apply_crops", (len(pixels), 2), sizes=sizes)
    images, views = len(pixels), len(crops) // len(pixels)
    if views * images != len(crops):
        raise ShapeError(
            f"apply_crops: crops must be as many for each of {images} images, got {len(crops)}"
        )
    boxes = crops.boxes.cpu()
    own_size = sizes.cpu().repeat(views, 1)  # [VB, 2]
    if (boxes[:, :2] < 0).any() or (boxes[:, :2] + boxes[:, 2:] > own_size).any():
        raise RangeError(
            f"apply_crops: crops must lie inside their images, got {boxes[::images].tolist()} "
            f"for the first, of size {sizes[0].tolist()}"
        )
    made = resample_boxes(
        pixels,
        boxes.view(views, images, 4),
        crops.flip.cpu().view(views, images),
        size_px=size_px,
        dtype=_product_dtype(pixels.device),
    )
    return made.flatten(0, 1)


def _product_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 on processors with products of it."""
    fast = device.type == "cpu" and torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def patch_centres(crops: Crops, grid: tuple[int, int]) -> Float[Tensor, "B h w 2"]:
    """Where each patch of a crop lies in its image: (y, x) of its centre, in pixels.

    The image's first pixel spans [0, 1), so its centre is at 0.5.
    """
    rows, columns = grid
    check_positive("patch_centres", grid_rows=rows, grid_columns=columns)
    top, left, height, width = crops.boxes.to(torch.float32)[..., None].unbind(dim=1)  # [B, 1]
    y = top + height * (torch.arange(rows, device=top.device) + 0.5) / rows
    x = left + width * (torch.arange(columns, device=top.device) + 0.5) / columns
    x = torch.where(crops.flip[:, None], x.flip(1), x)
    shape = (-1, rows, columns)
    return torch.stack([y[:, :, None].expand(shape), x[:, None, :].expand(shape)], dim=-1)


def _largest_box(image: NDArray[np.int64], aspect: tuple[float, float]) -> NDArray[np.int64]:
    """Return height and width of the largest box of an allowed width / height, [B, 2]."""
    height, width = image.T
    ratio = width / height
    box_height = np.where(ratio < min(aspect), np.rint(width / min(aspect)), height)
    box_width = np.where(ratio > max(aspect), np.rint(height * max(aspect)), width)
    box = np.stack([box_height, box_width], axis=1).astype(np.int64)
    return np.maximum(box, 1)
