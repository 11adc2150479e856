"""Segmentation by one linear layer on frozen patch features."""

from dataclasses import dataclass

from torch import nn

from patchwise.eval.heads import LinearHead
from patchwise.eval.segmentation_probe import SegmentationProbe


@dataclass(frozen=True)
class LinearSegmentation(SegmentationProbe):
    """A 1 x 1 convolution on frozen patch features is trained by Adam at a constant rate.

    Crops, labels, scores and their source: `SegmentationProbe`.
    """

    def make_head(self, dim: int, classes: int) -> nn.Module:
        """Return a head with new weights."""
        return LinearHead(dim, classes)

    def rate_at(self, step: int) -> float:
        """Return the learning rate, the same in all steps."""
        return self.rate
