"""Features of images as all see them: checked, in float32, without gradient."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from patchwise.errors import RangeError
from patchwise.models.backbone import Backbone, BackboneOutput
from patchwise.normalisation import normalise


@torch.no_grad()
def look(backbone: Backbone, pixels: UInt8[Tensor, "B 3 H W"]) -> BackboneOutput:
    """Return a backbone's features of images in [0, 255], float32, on its device.

    Raises:
        RangeError: A feature is not finite: such a backbone has no score.
    """
    output = backbone(normalise(pixels.to(backbone.device).float() / 255))
    cls, patches = output.cls.float(), output.patches.float()
    for name, features in (("CLS", cls), ("patch", patches)):
        if not features.isfinite().all():
            wrong = int((~features.isfinite()).sum())
            raise RangeError(
                f"evaluate: {name} features must be finite numbers, got {wrong} of "
                f"{features.numel()} that are not; the weights may be damaged"
            )
    return BackboneOutput(cls, patches, output.grid)
