"""Segmentation by batch normalisation and one linear layer, scored at full size as by DINOv2."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_within
from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.eval.batches import steps_per_epoch, training_batches
from patchwise.eval.crops import Crop
from patchwise.eval.heads import NormalisedHead
from patchwise.eval.results import SegmentationResult
from patchwise.eval.seen import Seen, best_classes
from patchwise.eval.segmentation_training import Learner, run_probe
from patchwise.eval.squares import Squares, stack_squares
from patchwise.eval.windows import (
    average_windows,
    cut_windows,
    lay_on_mean,
    pad_to_patches,
    window_places,
)
from patchwise.features.subject import Subject
from patchwise.randomness import random_uniform

_CROPS = 1  # key of draws
_TRIES = 10  # places of a crop
_FIRST_RATE = 1e-6  # share of the rate at the first step


@dataclass(frozen=True)
class LinearDINOv2:
    """Batch normalisation and a linear layer on frozen patch features, labels at full size.

    1. Training: the short side is brought to ``short_px`` times a factor within ``scale``, and
       ``window_px`` are cut out at random: of ten places the first one in which no class takes
       ``most_of_class`` of the labelled pixels, else the last. Where the image is smaller, the rest
       has the mean colour and no label. Mirrored or not. Scores are enlarged bilinearly to the
       labels; cross-entropy; AdamW, whose rate rises for ``warmup_steps`` and falls linearly to 0.
    2. Testing: the short side is brought to ``short_px``; windows every ``stride_px``; their scores
       are enlarged to their pixels and averaged, then enlarged to the labels' own size; arg max;
       one confusion matrix of all. The score is that of the last step; with ``every_epoch`` the
       best one by the test labels stands beside it, which none may report: of all epochs, or of
       every tenth of the steps where epochs are shorter.

    Images whose sides are no whole patches get a frame in the mean colour, as in the source; the
    scores of image and frame together are enlarged to the image.

    Source: DINOv2, Oquab et al. 2023, arXiv:2304.07193, and its published configuration for
        mmsegmentation 0.27 (its "linear" set-up: the last layer alone, no other scales in testing).
    Differs: colours are not distorted; images are resized by Pillow's bilinear filter, which
        smooths where it shrinks; the loss is a mean over labelled pixels, not over all; draws are
        keyed by image and epoch; a last, smaller batch of an epoch is left out.
    """

    preset: str
    short_px: int = 512
    window_px: int = 512
    stride_px: int = 341
    steps: int = 40_000
    batch: int = 16
    rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 1500
    scale: tuple[float, float] = (0.5, 2.0)
    most_of_class: float = 0.75
    flip_prob: float = 0.5
    every_epoch: bool = True
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "LinearDINOv2"
        check_positive(name, short_px=self.short_px, window_px=self.window_px, steps=self.steps)
        check_positive(name, stride_px=self.stride_px, batch=self.batch, rate=self.rate)
        check_within(name, 1, self.short_px, window_px=self.window_px)
        check_within(name, 1, self.window_px, stride_px=self.stride_px)
        check_within(name, 0, self.steps, warmup_steps=self.warmup_steps)
        check_within(name, 0, 1, weight_decay=self.weight_decay, flip_prob=self.flip_prob)
        check_positive(name, most_of_class=self.most_of_class, **{"scale[0]": self.scale[0]})
        check_within(name, self.scale[0], 100, **{"scale[1]": self.scale[1]})

    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        return run_probe(self, subject, data)

    def make_head(self, dim: int, classes: int) -> nn.Module:
        """Return a head with new weights."""
        return NormalisedHead(dim, classes)

    def learner(self, subject: Subject, head: nn.Module) -> Learner:
        """Return what trains a head."""
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=self.rate, weight_decay=self.weight_decay
        )
        return Learner(subject, head, optimizer)

    def train(self, learner: Learner, source: SegmentationSource) -> Iterator[int]:
        """Train; yield the number of steps done wherever the head is to be tested."""
        patch_px = learner.subject.backbone.patch_px
        interval = max(steps_per_epoch(len(source), self.batch), self.steps // 10)
        batches = training_batches(len(source), self.batch, seed=self.seed, steps=self.steps)
        for step, (epoch, ids) in enumerate(batches):
            draws = random_uniform(2 + 2 * _TRIES, self.seed, epoch, ids, _CROPS)
            crops = [
                self.crop(*source.read(index), draw)
                for index, draw in zip(ids.tolist(), draws, strict=True)
            ]
            pixels, labels = (torch.cat(parts) for parts in zip(*crops, strict=True))
            squares = Squares(pad_to_patches(pixels, patch_px=patch_px), labels)
            learner.step(squares, rate=self.rate_at(step))
            done = step + 1
            if done == self.steps or (self.every_epoch and done % interval == 0):
                yield done

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        rate = self.rate * (1 - step / self.steps)
        if step < self.warmup_steps:
            rate *= 1 - (1 - step / self.warmup_steps) * (1 - _FIRST_RATE)
        return rate

    def crop(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        label: UInt8[np.ndarray, "H W"],
        draw: Float64[np.ndarray, " _"],
    ) -> Squares:
        """Cut a random square out of one image, at a random scale, and out of its labels."""
        factor = self.scale[0] + (self.scale[1] - self.scale[0]) * draw[0]
        height, width = label.shape
        scaled = self._scaled((height, width), factor)
        size = min(scaled[0], self.window_px), min(scaled[1], self.window_px)
        flipped = bool(draw[1] < self.flip_prob)
        for place in draw[2:].reshape(_TRIES, 2):
            top, left = (
                int(at * (side - part + 1))
                for at, side, part in zip(place, scaled, size, strict=True)
            )
            y, x = height / scaled[0], width / scaled[1]
            box = (left * x, top * y, (left + size[1]) * x, (top + size[0]) * y)
            crop = Crop((box[0], box[1], min(box[2], width), min(box[3], height)), flipped)
            classes = crop.cut(label, size, Image.Resampling.NEAREST)
            counts = np.bincount(classes[classes != IGNORED])
            if np.count_nonzero(counts) > 1 and counts.max() < self.most_of_class * counts.sum():
                break
        part = crop.cut(image, size, Image.Resampling.BILINEAR)
        rest = (0, self.window_px - size[1], 0, self.window_px - size[0])
        pixels, labels = stack_squares([part], [classes])
        return Squares(
            lay_on_mean(pixels, (self.window_px, self.window_px), (0, 0)),
            F.pad(labels, rest, value=IGNORED),
        )

    def see(
        self, learner: Learner, source: SegmentationSource, ids: Sequence[int]
    ) -> Iterator[Seen]:
        """Yield what is seen of the windows of one test image after the other."""
        for index in ids:
            image, label = source.read(index)
            height, width = self._scaled((label.shape[0], label.shape[1]), 1.0)
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            windows = cut_windows(
                np.array(resized), self._places((height, width)), window_px=self.window_px
            )
            pixels = pad_to_patches(windows, patch_px=learner.subject.backbone.patch_px)
            yield Seen(learner.see(pixels).cpu(), [torch.from_numpy(label)])

    def predict(self, learner: Learner, seen: Seen) -> Iterator[Int[Tensor, "_ _"]]:
        """Yield the classes of every pixel of a test image."""
        shape = seen.labels[0].shape
        size = self._scaled((shape[0], shape[1]), 1.0)
        maps = learner.maps(seen.features)
        scores = average_windows(maps, self._places(size), size, window_px=self.window_px)
        yield best_classes(scores, shape)

    def _places(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        return window_places(size, window_px=self.window_px, stride_px=self.stride_px)

    def _scaled(self, size: tuple[int, int], factor: float) -> tuple[int, int]:
        """Return height and width with the short side at ``short_px`` times a factor."""
        short = max(1, round(self.short_px * factor))
        height, width = (max(short, round(side * short / min(size))) for side in size)
        return height, width
