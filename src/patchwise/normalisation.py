"""From pixels in [0, 1] to what backbones are fed."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_shape
from patchwise.configs.normalisation import IMAGENET, Normalisation


def normalise(
    images: Float[Tensor, "B 3 H W"], normalisation: Normalisation = IMAGENET
) -> Float[Tensor, "B 3 H W"]:
    """Return (images - mean) / std per channel.

    Args:
        images: RGB in [0, 1].
        normalisation: Mean and std; by default those of ImageNet's pixels. What was published with
            others says so itself: ``backbone.normalisation``.
    """
    check_shape("normalise", (None, 3, None, None), images=images)
    mean, std = (
        torch.tensor(values, device=images.device, dtype=images.dtype)[:, None, None]
        for values in (normalisation.mean, normalisation.std)
    )
    return torch.addcmul(-mean / std, images, 1 / std)
