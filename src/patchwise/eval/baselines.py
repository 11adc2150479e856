"""What any trained backbone must beat."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.features.subject import ModelIdentity
from patchwise.models.backbone import BackboneOutput


class RawPatches:
    """The RGB values of each patch as its feature; their mean over patches as the image's."""

    device = torch.device("cpu")

    def __init__(self, patch_px: int) -> None:
        check_positive("RawPatches", patch_px=patch_px)
        self.patch_px = patch_px
        self.dim = 3 * patch_px**2
        self.identity = ModelIdentity(f"raw RGB patches of {patch_px} px", None)

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], *, attention: bool = False
    ) -> BackboneOutput:
        """Return the pixels of each patch; there is no attention."""
        patches = F.unfold(images, self.patch_px, stride=self.patch_px).mT
        grid = images.shape[-2] // self.patch_px, images.shape[-1] // self.patch_px
        return BackboneOutput(patches.mean(dim=1), patches, grid)
