"""Segmentation by one linear layer, trained and scored at 100 x 100 pixels as Leopart does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor, nn

from patchwise.checks import check_positive, check_within
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.eval.batches import steps_per_epoch, training_batches
from patchwise.eval.crops import CropRange, LabelledCrops
from patchwise.eval.heads import LinearHead
from patchwise.eval.results import SegmentationResult
from patchwise.eval.seen import Seen
from patchwise.eval.segmentation_training import Learner, run_probe
from patchwise.eval.squares import Squares
from patchwise.features.subject import Subject

_DROP = 0.1  # of the rate


@dataclass(frozen=True)
class LinearLeopart:
    """A 1 x 1 convolution on frozen patch features is trained and scored at ``label_px``.

    1. Training: random crops (share of the area, aspect, mirrored or not) of the fit images at
       ``size_px``, bilinear; their labels as large (nearest), then thinned to ``label_px``; the
       scores enlarged bilinearly to the labels; cross-entropy; SGD, whose rate is a tenth from
       ``drop_epoch`` on.
    2. Test images and labels are squashed to ``size_px``, the labels thinned; arg max of the
       enlarged scores; one confusion matrix of all. The score is that of the last epoch; with
       ``every_epoch`` the best one by the test labels stands beside it, which none may report.

    Source: Leopart, Ziegler and Asano 2022, arXiv:2204.13101, and its published evaluation; the
        batch is that of its two GPUs.
    Differs: the published score is the best epoch's by the test labels, of part of the test images
        while training; here the layer comes before the enlargement, which gives the same scores,
        for both are linear; test images are squashed by a bicubic filter, not a bilinear one; draws
        are keyed by image and epoch; where a crop would leave the image, its aspect is changed, not
        its area.
    """

    preset: str
    size_px: int = 448
    label_px: int = 100
    epochs: int = 25
    drop_epoch: int = 20
    batch: int = 120
    rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    area_frac: tuple[float, float] = (0.8, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_prob: float = 0.5
    every_epoch: bool = True
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "LinearLeopart"
        check_positive(name, size_px=self.size_px, label_px=self.label_px, epochs=self.epochs)
        check_positive(name, drop_epoch=self.drop_epoch, batch=self.batch, rate=self.rate)
        check_within(name, 1, self.size_px, label_px=self.label_px)
        check_within(name, 0, 1, momentum=self.momentum, weight_decay=self.weight_decay)
        CropRange(self.area_frac, self.aspect, self.flip_prob)

    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        return run_probe(self, subject, data)

    def make_head(self, dim: int, classes: int) -> nn.Module:
        """Return a head with new weights."""
        return LinearHead(dim, classes)

    def learner(self, subject: Subject, head: nn.Module) -> Learner:
        """Return what trains a head."""
        optimizer = torch.optim.SGD(
            head.parameters(),
            lr=self.rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return Learner(subject, head, optimizer)

    def train(self, learner: Learner, source: SegmentationSource) -> Iterator[int]:
        """Train; yield the number of steps done wherever the head is to be tested."""
        crops = LabelledCrops(
            CropRange(self.area_frac, self.aspect, self.flip_prob),
            size_px=self.size_px,
            label_px=self.size_px,
            resampling=Image.Resampling.BILINEAR,
            seed=self.seed,
        )
        epoch_steps = steps_per_epoch(len(source), self.batch)
        steps = self.epochs * epoch_steps
        batches = training_batches(len(source), self.batch, seed=self.seed, steps=steps)
        for step, (epoch, ids) in enumerate(batches):
            pixels, labels = crops.read(source, ids, epoch=epoch)
            squares = Squares(pixels, thin(labels, self.label_px))
            learner.step(squares, rate=self.rate_at(epoch))
            done = step + 1
            if done == steps or (self.every_epoch and done % epoch_steps == 0):
                yield done

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, from 0."""
        return self.rate * _DROP if epoch >= self.drop_epoch else self.rate

    def see(
        self, learner: Learner, source: SegmentationSource, ids: Sequence[int]
    ) -> Iterator[Seen]:
        """Yield what is seen of test images, with thinned labels."""
        for seen in learner.see_squares(source, ids, size_px=self.size_px, native_labels=False):
            yield Seen(seen.features, [thin(label, self.label_px) for label in seen.labels])

    def predict(self, learner: Learner, seen: Seen) -> Iterator[Int[Tensor, "_ _"]]:
        """Yield the classes of every pixel of the labels of test images."""
        return learner.predict(seen)


def thin(labels: UInt8[Tensor, "*B S S"], label_px: int) -> UInt8[Tensor, "*B L L"]:
    """Keep ``label_px`` rows and columns: of each, the one in which its upper left corner lies."""
    kept = torch.arange(label_px) * labels.shape[-1] // label_px
    return labels[..., kept, :][..., kept]
