"""Classification of images by a linear layer on frozen features, as DINO trains it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_within
from patchwise.data.labelled import LabelledData
from patchwise.data.source import ImageSource
from patchwise.eval.batches import steps_per_epoch, training_batches
from patchwise.eval.classification import accuracy, classification_result
from patchwise.eval.crops import CropRange
from patchwise.eval.heads import draw_head
from patchwise.eval.results import ClassificationResult
from patchwise.eval.setup import identify_labelled, part_to_score, start
from patchwise.features.look import look, look_at_blocks
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import CentreCrop
from patchwise.models.backbone import BackboneOutput
from patchwise.ops.schedules import cosine

_HEAD = 2  # key of draws; 0 and 1 are those of orders and crops
_INIT_STD = 0.01
_WIDE = 768  # channels of ViT-B


@dataclass(frozen=True)
class LinearDINO:
    """One linear layer on frozen features is trained on random crops, and scored on whole images.

    1. Features: CLS of the last ``blocks`` blocks, one after the other, each after the final
       normalisation; with ``mean_patch`` also the mean of the last block's patches.
    2. Training: random crops (share of the area, aspect, mirrored or not) at ``crop_px``, bilinear;
       cross-entropy; SGD, whose rate starts at ``rate_per_256 * batch / 256`` and falls by epochs
       along half a cosine to 0.
    3. Test images: the short side is resized to ``resize_px``, and ``crop_px`` are cut from the
       middle. The score is that of the last epoch; with ``every_epoch`` the best one by the test
       labels stands beside it, which none may report.

    Source: DINO, Caron et al. 2021, arXiv:2104.14294, and its published evaluation; the batch is
        that of its eight GPUs.
    Differs: the published score is the best epoch's; draws are keyed by image and epoch; where a
        crop would leave the image, its aspect is changed, not its area.
    """

    preset: str
    blocks: int = 4
    mean_patch: bool = False
    epochs: int = 100
    batch: int = 1024
    rate_per_256: float = 1e-3
    momentum: float = 0.9
    resize_px: int = 256
    crop_px: int = 224
    area_frac: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_prob: float = 0.5
    every_epoch: bool = True
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "LinearDINO"
        check_positive(name, blocks=self.blocks, epochs=self.epochs, batch=self.batch)
        check_positive(name, rate_per_256=self.rate_per_256, crop_px=self.crop_px)
        check_within(name, 1, self.resize_px, crop_px=self.crop_px)
        check_within(name, 0, 1, momentum=self.momentum)
        CropRange(self.area_frac, self.aspect, self.flip_prob)

    def run(self, subject: Subject, data: LabelledData) -> ClassificationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_labelled(data), subject)
        queries, truth = self._see_test(subject, data), torch.from_numpy(data.test_labels)
        classes, device = len(data.fit.classes), subject.backbone.device
        head = draw_head(
            lambda: _new_layer(queries.shape[1], classes), self.seed, _HEAD, device=device
        )
        best = 0.0
        for _ in self._train(subject, head, data):
            scores = score_features(head, queries)
            best = max(best, accuracy(scores, truth))
        result = classification_result(
            scores, truth, memory=len(data.fit), fingerprint=setup.fingerprint()
        )
        return replace(result, best_accuracy=best if self.every_epoch else None)

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, from 0."""
        return cosine(self.rate_per_256 * self.batch / 256, 0.0, progress=epoch / self.epochs)

    def _train(self, subject: Subject, head: nn.Linear, data: LabelledData) -> Iterator[int]:
        """Train; yield the number of epochs done wherever the layer is to be tested."""
        labels = torch.from_numpy(data.fit.labels)
        optimizer = torch.optim.SGD(head.parameters(), lr=self.rate_at(0), momentum=self.momentum)
        epoch_steps = steps_per_epoch(len(labels), self.batch, rest=True)
        batches = training_batches(
            len(labels), self.batch, seed=self.seed, steps=self.epochs * epoch_steps, rest=True
        )
        for step, (epoch, ids) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = self.rate_at(epoch)
            features = self._see(subject, self._crop(data.fit, ids, epoch=epoch))
            target = labels[torch.from_numpy(ids)].to(features.device)
            loss = F.cross_entropy(head(features), target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done, rest = divmod(step + 1, epoch_steps)
            if rest == 0 and (self.every_epoch or done == self.epochs):
                yield done

    def _crop(
        self, source: ImageSource, ids: Int64[np.ndarray, " b"], *, epoch: int
    ) -> UInt8[Tensor, "B 3 S S"]:
        crops = CropRange(self.area_frac, self.aspect, self.flip_prob)
        size, parts = (self.crop_px, self.crop_px), []
        draws = crops.draw(ids, seed=self.seed, epoch=epoch)
        for index, draw in zip(ids.tolist(), draws, strict=True):
            image = source.read(index)
            crop = crops.place((image.shape[0], image.shape[1]), draw)
            parts.append(crop.cut(image, size, Image.Resampling.BILINEAR))
        return _stacked(parts)

    def _see_test(self, subject: Subject, data: LabelledData) -> Float[Tensor, "M F"]:
        test = part_to_score(data, self.preset)
        transform = CentreCrop(self.resize_px, self.crop_px)
        if self.blocks == 1:
            outputs = read_features(subject, test, transform)
            return torch.cat([self._joined((output,)).cpu() for output in outputs])
        parts = []
        for first in range(0, len(test), subject.batch):
            ids = range(first, min(first + subject.batch, len(test)))
            pixels = _stacked([transform(test.read(index)) for index in ids])
            parts.append(self._see(subject, pixels).cpu())
        return torch.cat(parts)

    def _see(self, subject: Subject, pixels: UInt8[Tensor, "B 3 S S"]) -> Float[Tensor, "B F"]:
        """Return the features of images, of which the model sees a few at a time."""
        parts = []
        for some in torch.split(pixels, subject.batch):
            if self.blocks == 1:
                outputs: tuple[BackboneOutput, ...] = (look(subject.backbone, some),)
            else:
                outputs = look_at_blocks(subject.backbone, some, count=self.blocks)
            parts.append(self._joined(outputs))
        return torch.cat(parts)

    def _joined(self, outputs: tuple[BackboneOutput, ...]) -> Float[Tensor, "B F"]:
        features = [output.cls for output in outputs]
        if self.mean_patch:
            features.append(outputs[-1].patches.mean(dim=1))
        return torch.cat(features, dim=-1)


class LinearFeatures(TypedDict):
    """Settings of `LinearDINO` that depend on the model."""

    blocks: int
    mean_patch: bool


def linear_features(dim: int) -> LinearFeatures:
    """Return which features of a model are published: by the channels of ViT-S and of ViT-B."""
    wide = dim >= _WIDE
    return LinearFeatures(blocks=1 if wide else 4, mean_patch=wide)


@torch.no_grad()
def score_features(head: nn.Linear, features: Float[Tensor, "M F"]) -> Float[Tensor, "M K"]:
    """Return the scores of features on the CPU, wherever the layer is."""
    scores: Tensor = head(features.to(head.weight.device))
    return scores.cpu()


def _new_layer(dim: int, classes: int) -> nn.Linear:
    layer = nn.Linear(dim, classes)
    nn.init.normal_(layer.weight, std=_INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer


def _stacked(images: list[UInt8[np.ndarray, "S S 3"]]) -> UInt8[Tensor, "B 3 S S"]:
    return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous()
