"""Images that tell of each pixel where it lies, and views without colour changes."""

import torch

from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.views import ViewsConfig
from patchwise.types import ImageBatch

PLAIN = ViewsConfig(
    base_px=128, global_px=64, local_px=32, local_count=2, jitter_prob=0, grayscale_prob=0,
    blur_probs=(0, 0, 0), solarise_probs=(0, 0, 0),
)  # fmt: skip
METHOD = PWSelfConfig(views=PLAIN, recolour_patches=False)


def coordinate_batch() -> ImageBatch:
    """Images whose red and green are each pixel's own (y, x), as shares of the image."""
    height, width = 128, 160
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([255 * y / height, 255 * x / width, torch.zeros(height, width)])
    pixels = pixels.round().to(torch.uint8).expand(2, -1, -1, -1).contiguous()
    return ImageBatch(pixels, torch.tensor([[height, width]] * 2), torch.tensor([3, 8]), 0)
