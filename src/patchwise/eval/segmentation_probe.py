"""Segmentation by a head on frozen patch features, trained on random crops for some steps."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor, nn

from patchwise.checks import check_positive
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.eval.batches import steps_per_epoch, training_batches
from patchwise.eval.crops import CropRange, LabelledCrops
from patchwise.eval.results import SegmentationResult
from patchwise.eval.seen import Seen
from patchwise.eval.segmentation_training import Learner, run_probe
from patchwise.features.subject import Subject


@dataclass(frozen=True)
class SegmentationProbe(ABC):
    """What CoTAP's two heads have in common.

    1. Training: random crops (share of the area, aspect, mirrored or not) of the fit images at
       ``train_px``; their labels at ``test_px``; features in half precision, the scores enlarged
       bilinearly to the labels; cross-entropy; Adam.
    2. Test images and labels are squashed to ``test_px`` (labels: nearest), or with
       ``native_labels`` the images alone; arg max of the enlarged scores; one confusion matrix of
       all. The score is that of the last step; with ``every_epoch`` the best one by the test labels
       stands beside it, which none may report: of all epochs, or of every tenth of the steps where
       epochs are shorter.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429, and its published configuration.
    Differs: draws are keyed by image and epoch; a last, smaller batch of an epoch is left out;
        where a crop would leave the image, its aspect is changed, not its area.
    """

    preset: str
    train_px: int = 336
    test_px: int = 448
    native_labels: bool = False
    steps: int = 781
    batch: int = 128
    rate: float = 3e-3
    area_frac: tuple[float, float] = (0.64, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_prob: float = 0.5
    half_precision: bool = True
    every_epoch: bool = True
    seed: int = 0

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_positive(name, train_px=self.train_px, test_px=self.test_px, steps=self.steps)
        check_positive(name, batch=self.batch, rate=self.rate)
        CropRange(self.area_frac, self.aspect, self.flip_prob)

    @abstractmethod
    def make_head(self, dim: int, classes: int) -> nn.Module:
        """Return a head with new weights."""

    @abstractmethod
    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""

    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        return run_probe(self, subject, data)

    def learner(self, subject: Subject, head: nn.Module) -> Learner:
        """Return what trains a head."""
        optimizer = torch.optim.Adam(head.parameters(), lr=self.rate)
        return Learner(subject, head, optimizer, self.half_precision)

    def train(self, learner: Learner, source: SegmentationSource) -> Iterator[int]:
        """Train; yield the number of steps done wherever the head is to be tested."""
        crops = LabelledCrops(
            CropRange(self.area_frac, self.aspect, self.flip_prob),
            size_px=self.train_px,
            label_px=self.test_px,
            resampling=Image.Resampling.BICUBIC,
            seed=self.seed,
        )
        interval = max(steps_per_epoch(len(source), self.batch), self.steps // 10)
        batches = training_batches(len(source), self.batch, seed=self.seed, steps=self.steps)
        for step, (epoch, ids) in enumerate(batches):
            learner.step(crops.read(source, ids, epoch=epoch), rate=self.rate_at(step))
            done = step + 1
            if done == self.steps or (self.every_epoch and done % interval == 0):
                yield done

    def see(
        self, learner: Learner, source: SegmentationSource, ids: Sequence[int]
    ) -> Iterator[Seen]:
        """Yield what is seen of test images."""
        return learner.see_squares(
            source, ids, size_px=self.test_px, native_labels=self.native_labels
        )

    def predict(self, learner: Learner, seen: Seen) -> Iterator[Int[Tensor, "_ _"]]:
        """Yield the classes of every pixel of the labels of test images."""
        return learner.predict(seen)
