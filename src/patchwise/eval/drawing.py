"""Patches drawn from many images, whatever order the images are in."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from patchwise.data.source import ImageSource
from patchwise.randomness import random_uniform


def image_keys(images: ImageSource) -> Int64[np.ndarray, " N"]:
    """Return a number for each image that follows from its pixels alone."""
    digests = []
    for index in range(len(images)):
        pixels = np.ascontiguousarray(images.read(index)).data
        digests.append(hashlib.blake2b(pixels, digest_size=8).digest())
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def draw_patches(
    keys: Int64[np.ndarray, " N"], patches: int, most: int, *key: int
) -> Int[Tensor, " M"]:
    """Draw patches of images, each patch with the same chance, by the key of its image.

    Args:
        keys: Of the images; see `image_keys`.
        patches: How many each image has, P.
        most: How many to draw; all, if there are not more.
        key: Whole numbers, such as a seed, of which the draw is a function.

    Returns:
        Places in [0, N P): image * P + patch, in random order. In another order of the images, the
        same patches come in the same order.
    """
    chance = random_uniform(patches, *key, keys).reshape(-1)
    return torch.from_numpy(np.argsort(chance, kind="stable")[:most])


def gather_rows(
    batches: Iterable[Float[Tensor, "_ D"]], draws: Sequence[Int[Tensor, " _"]]
) -> list[Float[Tensor, "_ D"]]:
    """Return for each draw the rows at its places, in its order, on the CPU.

    Args:
        batches: Rows, counted on from batch to batch; they pass once.
        draws: Places of rows.
    """
    places = [draw.sort() for draw in draws]
    found: list[Tensor] = []
    first = 0
    for rows in batches:
        if not found:
            found = [torch.empty(len(draw), rows.shape[1], dtype=rows.dtype) for draw in draws]
        ends = torch.tensor([first, first + len(rows)])
        for (ordered, order), out in zip(places, found, strict=True):
            low, high = torch.searchsorted(ordered, ends).tolist()
            within = ordered[low:high] - first
            out[order[low:high]] = rows[within.to(rows.device)].cpu()
        first += len(rows)
    return found
