"""Galleries and features for tests of pictures."""

import numpy as np
import torch

from patchwise.pictures.gallery import Gallery, Seen


def gallery(count: int = 6, *, side_px: int = 32, shown: int = 3, grid: int = 4) -> Gallery:
    """Noise, with categories 0, 1, 2 by column."""
    images = np.random.default_rng(0).integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8)
    categories = (torch.arange(grid) % 3).repeat(grid).expand(count, -1)
    names = tuple(f"image {i}" for i in range(count))
    return Gallery(images, names, shown, "noise", categories)


def seen(count: int = 6, *, grid: int = 4, heads: int = 2, seed: int = 0) -> Seen:
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(count, grid * grid, 8, generator=generator)
    attention = torch.rand(count, heads, grid * grid, generator=generator)
    return Seen(patches, attention / attention.sum(dim=-1, keepdim=True), (grid, grid))
