"""Features of images as all see them: checked, in float32, without gradient."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from patchwise.errors import RangeError
from patchwise.models.backbone import Backbone, BackboneOutput, HasBlocks, prepare


@torch.no_grad()
def look(backbone: Backbone, pixels: UInt8[Tensor, "B 3 H W"]) -> BackboneOutput:
    """Return a backbone's features of images in [0, 255], float32, on its device.

    Raises:
        RangeError: A feature is not finite: such a backbone has no score.
    """
    return _checked(backbone(prepare(backbone, pixels)))


@torch.no_grad()
def look_at_blocks(
    backbone: Backbone, pixels: UInt8[Tensor, "B 3 H W"], *, count: int
) -> tuple[BackboneOutput, ...]:
    """Return the features that each of the last ``count`` blocks gives; see `look`.

    Raises:
        RangeError: There are not as many blocks, or the backbone cannot tell.
    """
    if not isinstance(backbone, HasBlocks):
        raise RangeError(
            f"evaluate: the model must have last_blocks(images, count=...) for features of {count} "
            f"blocks, got {type(backbone).__name__}; use --set blocks=1 --set mean_patch=true"
        )
    return tuple(map(_checked, backbone.last_blocks(prepare(backbone, pixels), count=count)))


def _checked(output: BackboneOutput) -> BackboneOutput:
    cls, patches = output.cls.float(), output.patches.float()
    for name, features in (("CLS", cls), ("patch", patches)):
        if not features.isfinite().all():
            wrong = int((~features.isfinite()).sum())
            raise RangeError(
                f"evaluate: {name} features must be finite numbers, got {wrong} of "
                f"{features.numel()} that are not; the weights may be damaged"
            )
    return BackboneOutput(cls, patches, output.grid)
