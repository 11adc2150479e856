"""Segmentation by a small convolutional network on frozen patch features."""

from dataclasses import dataclass

from torch import nn

from patchwise.checks import check_positive, check_within
from patchwise.eval.heads import UpsamplingHead
from patchwise.eval.segmentation_probe import SegmentationProbe
from patchwise.ops.schedules import cosine
from patchwise.randomness import random_seed

_DROPOUT = 3  # key of draws


@dataclass(frozen=True)
class FCNSegmentation(SegmentationProbe):
    """Enlarging blocks and a 1 x 1 convolution on frozen patch features are trained.

    `UpsamplingHead`, with blocks from all channels of the features to ``widths``, by Adam, whose
    rate goes from ``rate`` to ``end_rate`` along half a cosine. Batch normalisation uses the
    statistics of a batch in training, and their running means in testing. Crops, labels, scores and
    their source: `SegmentationProbe`.
    """

    steps: int = 3125
    end_rate: float = 1e-4
    widths: tuple[int, ...] = (512, 384, 256)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("FCNSegmentation", end_rate=self.end_rate)
        check_within("FCNSegmentation", 0, 0.99, dropout=self.dropout)
        for place, width in enumerate(self.widths):
            check_within("FCNSegmentation", 2, 2**16, **{f"widths[{place}]": width})

    def make_head(self, dim: int, classes: int) -> nn.Module:
        """Return a head with new weights."""
        seed = random_seed(self.seed, _DROPOUT)
        return UpsamplingHead(dim, classes, widths=self.widths, dropout=self.dropout, seed=seed)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        return cosine(self.rate, self.end_rate, progress=step / self.steps)
