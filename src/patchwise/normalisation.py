"""From pixels in [0, 1] to what backbones are fed."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_shape

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Return (images - mean) / std per channel, with the mean and std of ImageNet's pixels.

    Args:
        images: RGB in [0, 1].
    """
    check_shape("normalise", (None, 3, None, None), images=images)
    mean, std = (
        torch.tensor(values, device=images.device, dtype=images.dtype)[:, None, None]
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return torch.addcmul(-mean / std, images, 1 / std)
