"""The global feature by which images are compared."""

import hashlib
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from patchwise.features.subject import ModelIdentity, Subject
from patchwise.models.backbone import Backbone, BackboneOutput

_MEANING = "mean of patches, unit length"


class MeanPatches:
    """A backbone whose CLS is the mean of its patch features over the image, of unit length.

    Source: Wen et al. 2025, arXiv:2509.09429 (CoTAP), whose neighbours are found by such features.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    @property
    def dim(self) -> int:
        """Channels of the features, D."""
        return self._backbone.dim

    @property
    def patch_px(self) -> int:
        """Side of a patch in pixels."""
        return self._backbone.patch_px

    @property
    def device(self) -> torch.device:
        """Where images must be."""
        return self._backbone.device

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], *, attention: bool = False
    ) -> BackboneOutput:
        """Return the features of ``images``."""
        output = self._backbone(images, attention=attention)
        mean = F.normalize(output.patches.float().mean(dim=1), dim=1)
        return replace(output, cls=mean)


def with_mean_patches(subject: Subject) -> Subject:
    """Return a subject whose CLS is that of `MeanPatches`; it is told from the given one."""
    sha256 = subject.identity.sha256
    if sha256 is not None:
        sha256 = hashlib.sha256(f"{sha256} {_MEANING}".encode()).hexdigest()
    identity = ModelIdentity(f"{subject.identity.name} ({_MEANING})", sha256)
    return replace(subject, backbone=MeanPatches(subject.backbone), identity=identity)
