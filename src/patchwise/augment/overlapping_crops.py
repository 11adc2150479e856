"""Random crops that show a part of what other crops of their image show."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from patchwise.augment.crop import BOX_DRAWS, Crops, random_boxes
from patchwise.augment.draw import DrawKey, Purpose
from patchwise.checks import check_positive, check_shape, check_within
from patchwise.errors import RangeError

_ROUNDS = (4, 32, 256)  # crops of an image that are drawn until one will do: most need few


def sample_overlapping_crops(
    sizes: Int[Tensor, "B 2"],
    key: DrawKey,
    others: Sequence[Crops],
    *,
    overlap_frac: float,
    area_frac: tuple[float, float],
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Crops:
    """Draw one crop per image that overlaps every one of its ``others``.

    256 times, draw a crop as `patchwise.augment.crop.sample_crops` does, and keep the first that
    shares at least ``overlap_frac`` of the image with each of the others. If none does, take the
    place that all others show: it shares as much with each of them as they all share.

    Args:
        sizes: Height and width of each image, pixels.
        key: Of this view of these images.
        others: Crops of the same images; a place in each image is shown by all of them.
        overlap_frac: Least overlap with each of the others, as a share of the image's area.
        area_frac: Least and most area, as a share of the image's.
        aspect: Least and most width / height.

    Returns:
        Crops on the CPU, never mirrored; boxes lie inside their images and hold at least one
        pixel. An image's crop depends on its own size, key and others alone. The first crop that
        is tried is that of `sample_crops` with the same key.

    Raises:
        ShapeError: ``sizes``, the key and the others are not of as many images.
        RangeError: A limit is out of range, an image is empty, or the others of an image do not
            overlap each other though they are to be overlapped.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429.
    Differs: the number of tries is bounded; the authors try until a crop will do.
    """
    name = "sample_overlapping_crops"
    check_shape(name, (len(key), 2), sizes=sizes)
    for number, other in enumerate(others):
        check_shape(name, (len(key), 4), **{f"others[{number}]": other.boxes})
    check_within(name, 0, 1, least_area_frac=area_frac[0], most_area_frac=area_frac[1])
    check_within(name, 0, 1, overlap_frac=overlap_frac)
    check_positive(name, least_aspect=aspect[0], most_aspect=aspect[1])
    if (sizes < 1).any():
        raise RangeError(f"{name}: sizes must be positive, got {int(sizes.min())}")

    image = sizes.cpu().numpy().astype(np.int64)
    whole = np.concatenate([np.zeros_like(image), image], axis=1)
    fixed = np.stack([whole, *(other.boxes.cpu().numpy() for other in others)], axis=1)  # [B, C, 4]
    boxes = _shared_place(fixed)
    if overlap_frac > 0 and (boxes[:, 2:] < 1).any():
        raise RangeError(
            f"{name}: others must overlap each other in every image, got "
            f"{fixed[(boxes[:, 2:] < 1).any(axis=1)][0, 1:].tolist()}"
        )
    left = np.arange(len(image))
    for tries in _ROUNDS:
        if not len(left):
            break
        own, number = _select(key, left), len(left) * tries
        uniform = own.uniform(tries * BOX_DRAWS, Purpose.CROP).reshape(number, BOX_DRAWS)
        drawn = random_boxes(np.repeat(image[left], tries, axis=0), uniform, area_frac, aspect)
        drawn = drawn.reshape(len(left), tries, 4)
        shared = _overlap_px(drawn[:, :, None], fixed[left, None, 1:])  # [left, tries, C - 1]
        wanted = overlap_frac * image[left].prod(axis=1)
        fits = (shared >= wanted[:, None, None]).all(axis=2)
        found = fits.any(axis=1)
        boxes[left[found]] = drawn[found, fits[found].argmax(axis=1)]
        left = left[~found]
    return Crops(torch.from_numpy(boxes), torch.zeros(len(boxes), dtype=torch.bool))


def _select(key: DrawKey, rows: NDArray[np.int64]) -> DrawKey:
    beside = None if key.beside is None else key.beside[rows]
    return dataclasses.replace(key, ids=key.ids[rows], beside=beside)


def _shared_place(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what all boxes of an image [B, C, 4] have in common [B, 4]."""
    start = boxes[..., :2].max(axis=1)
    end = (boxes[..., :2] + boxes[..., 2:]).min(axis=1)
    return np.concatenate([start, end - start], axis=1)


def _overlap_px(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pixels that boxes have in common; leading axes are broadcast."""
    start = np.maximum(a[..., :2], b[..., :2])
    end = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared: NDArray[np.int64] = (end - start).clip(min=0).prod(axis=-1)
    return shared
