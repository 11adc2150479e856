"""Segmentation by one linear layer on frozen patch features."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_within
from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.eval.results import SegmentationResult
from patchwise.eval.segmentation import mean_iou, segmentation_result
from patchwise.eval.setup import identify_segmentation, start
from patchwise.eval.squares import Squares, read_squares, stack_squares
from patchwise.features.look import look
from patchwise.features.subject import Subject
from patchwise.models.backbone import Backbone
from patchwise.randomness import random_order, random_seed, random_uniform

_ORDER, _CROPS, _HEAD = 0, 1, 2  # keys of draws


@dataclass(frozen=True)
class LinearSegmentation:
    """A 1 x 1 convolution on frozen patch features is trained and scored.

    1. Training: random crops (share of the area, aspect, mirrored or not) of the fit images at
       ``train_px``; their labels at ``test_px``; features in half precision, the scores enlarged
       bilinearly to the labels; cross-entropy; Adam at a constant rate.
    2. Test images and labels are squashed to ``test_px`` (labels: nearest); arg max of the enlarged
       scores; one confusion matrix of all. The score is that of the last step; with
       ``every_epoch`` the best one by the test labels stands beside it, which none may report: of
       all epochs, or of every tenth of the steps where epochs are shorter.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429, and its published configuration.
    Differs: draws are keyed by image and epoch; a last, smaller batch of an epoch is left out;
        where a crop would leave the image, its aspect is changed, not its area.
    """

    preset: str
    train_px: int = 336
    test_px: int = 448
    steps: int = 781
    batch: int = 128
    rate: float = 3e-3
    area_frac: tuple[float, float] = (0.64, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_prob: float = 0.5
    half_precision: bool = True
    every_epoch: bool = True
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "LinearSegmentation"
        check_positive(name, train_px=self.train_px, test_px=self.test_px, steps=self.steps)
        check_positive(name, batch=self.batch, rate=self.rate)
        for limits, (low, high) in {"area_frac": self.area_frac, "aspect": self.aspect}.items():
            check_positive(name, **{f"{limits}[0]": low, f"{limits}[1]": high})
            check_within(name, low, float("inf"), **{f"{limits}[1]": high})
        check_within(name, 0, 1, **{"area_frac[1]": self.area_frac[1]})
        check_within(name, 0, 1, flip_prob=self.flip_prob)

    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_segmentation(data), subject)
        backbone = subject.backbone
        head = self._new_head(backbone.dim, len(data.classes)).to(backbone.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=self.rate)
        interval = max(self._steps_per_epoch(data.fit), self.steps // 10)
        best = 0.0
        for step, squares in enumerate(self._batches(data.fit), start=1):
            scores = self._scores(backbone, head, squares)
            labels = squares.labels.to(backbone.device).long()
            loss = F.cross_entropy(scores, labels, ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if self.every_epoch and step < self.steps and step % interval == 0:
                best = max(best, mean_iou(self._test(subject, head, data), data))
        matrix = self._test(subject, head, data)
        best_miou = max(best, mean_iou(matrix, data)) if self.every_epoch else None
        return segmentation_result(matrix, data, setup.fingerprint(), best_miou=best_miou)

    def _new_head(self, dim: int, classes: int) -> nn.Linear:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_seed(self.seed, _HEAD))
            return nn.Linear(dim, classes)

    def _scores(
        self, backbone: Backbone, head: nn.Linear, squares: Squares
    ) -> Float[Tensor, "B K L L"]:
        """Return the scores of every class at the size of the labels."""
        with self._precision(backbone.device):
            features = look(backbone, squares.pixels).patches
        scores: Tensor = head(features)  # [B, N, K]
        side = squares.pixels.shape[-1] // backbone.patch_px
        maps = scores.mT.reshape(*scores.mT.shape[:2], side, side)
        return F.interpolate(maps, size=squares.labels.shape[1:], mode="bilinear")

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.half_precision)

    @torch.no_grad()
    def _test(self, subject: Subject, head: nn.Linear, data: SegmentationData) -> ConfusionMatrix:
        matrix = ConfusionMatrix(len(data.classes), ignored=IGNORED)
        for squares in read_squares(
            data.test, range(len(data.test)), size_px=self.test_px, batch=subject.batch
        ):
            scores = self._scores(subject.backbone, head, squares)
            matrix.add_images(scores.argmax(dim=1).cpu(), squares.labels)
        return matrix

    def _steps_per_epoch(self, source: SegmentationSource) -> int:
        return max(1, len(source) // self.batch)

    def _batches(self, source: SegmentationSource) -> Iterator[Squares]:
        """Yield the crops of every step."""
        size = min(self.batch, len(source))
        for step in range(self.steps):
            epoch, place = divmod(step, self._steps_per_epoch(source))
            order = random_order(len(source), self.seed, epoch, _ORDER)
            ids = order[place * size : (place + 1) * size]
            draws = random_uniform(5, self.seed, epoch, ids, _CROPS)
            crops = [
                self._crop(source, index, draw)
                for index, draw in zip(ids.tolist(), draws, strict=True)
            ]
            images, labels = zip(*crops, strict=True)
            yield stack_squares(images, labels)

    def _crop(
        self, source: SegmentationSource, index: int, draw: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Cut a random part out of one image and its labels."""
        image, label = source.read(index)
        height, width = label.shape
        low, high = self.area_frac
        area = (low + (high - low) * draw[0]) * height * width
        logs = [math.log(limit) for limit in self.aspect]
        aspect = math.exp(logs[0] + (logs[1] - logs[0]) * draw[1])
        aspect = min(max(aspect, area / height**2), width**2 / area)  # both sides fit
        rows, columns = min(height, math.sqrt(area / aspect)), min(width, math.sqrt(area * aspect))
        top, left = draw[2] * (height - rows), draw[3] * (width - columns)
        box = (left, top, left + columns, top + rows)
        cut = [
            np.array(Image.fromarray(pixels).resize((side, side), resampling, box=box))
            for pixels, side, resampling in (
                (image, self.train_px, Image.Resampling.BICUBIC),
                (label, self.test_px, Image.Resampling.NEAREST),
            )
        ]
        if draw[4] < self.flip_prob:
            cut = [np.ascontiguousarray(pixels[:, ::-1]) for pixels in cut]
        return cut[0], cut[1]
