"""Training and scoring of heads on frozen patch features.

Letters: B images, h w rows and columns of patches, D channels, K classes, H W pixels of labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.eval.heads import UpsamplingHead, draw_head
from patchwise.eval.results import SegmentationResult
from patchwise.eval.seen import Seen, SeenImages, best_classes, count_classes
from patchwise.eval.segmentation import mean_iou, segmentation_result
from patchwise.eval.setup import Preset, identify_segmentation, start
from patchwise.eval.squares import Squares, read_labels
from patchwise.eval.upsampling_step import add_gradients
from patchwise.features.look import look
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.models.backbone import BackboneOutput

_HELD = 2**24  # enlarged scores that are held at a time
_HEAD = 2  # key of draws; 0 and 1 are those of orders and crops


class PixelLoss:
    """The mean cross-entropy over all labelled pixels of a batch; 0 without any."""

    def __init__(self, labels: UInt8[Tensor, "B H W"]) -> None:
        self._labels = labels
        self._labelled = (labels != IGNORED).sum().clamp(min=1)

    def backward(self, maps: Float[Tensor, "b K h w"], first: int) -> None:
        """Add the gradients of what the images from number ``first`` on are of the loss.

        The scores ``maps`` are enlarged bilinearly to the labels, for a few images at a time:
        enlarged, they take up to hundreds of times as much memory.
        """
        leaf = maps.detach().requires_grad_()
        labels = self._labels[first : first + len(maps)]
        some = max(1, _HELD // (maps.shape[1] * labels[0].numel()))
        for part, label in zip(torch.split(leaf, some), torch.split(labels, some), strict=True):
            scores = F.interpolate(part, size=label.shape[1:], mode="bilinear")
            loss = F.cross_entropy(scores, label.long(), ignore_index=IGNORED, reduction="sum")
            (loss / self._labelled).backward()  # type: ignore[no-untyped-call]
        maps.backward(leaf.grad)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Learner:
    """A head that learns to tell classes by what a model sees."""

    subject: Subject
    head: nn.Module  # from features [B, h, w, D] to scores [B, K, ...]
    optimizer: torch.optim.Optimizer
    half_precision: bool = False  # whether the model, not the head, computes in bfloat16

    def step(self, squares: Squares, *, rate: float) -> None:
        """Learn from a batch: cross-entropy of the scores, enlarged bilinearly to the labels."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        features = self.see(squares.pixels)
        self.head.train()
        self.optimizer.zero_grad()
        self._add_gradients(features, PixelLoss(squares.labels.to(features.device)))
        self.optimizer.step()

    def see(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B h w D"]:
        """Return the patch features of images, of which the model sees a few at a time."""
        parts = []
        for some in torch.split(pixels, self.subject.batch):
            with self._precision():
                output = look(self.subject.backbone, some)
            parts.append(_as_grid(output))
        return torch.cat(parts)

    def see_squares(
        self, source: SegmentationSource, ids: Sequence[int], *, size_px: int, native_labels: bool
    ) -> Iterator[Seen]:
        """Yield what is seen of whole images, squashed to ``size_px`` as their labels are.

        With ``native_labels`` these keep their own size.
        """
        subject = self.subject
        if self.half_precision:  # stores hold what was computed in full precision
            subject = replace(subject, stores=None)
        outputs = read_features(subject, source.images, Squash(size_px), ids=ids)
        place = 0
        while True:
            with self._precision():
                output = next(outputs, None)
            if output is None:
                return
            some = ids[place : place + len(output.patches)]
            place += len(some)
            if native_labels:
                labels = [torch.from_numpy(source.label(index)) for index in some]
            else:
                labels = list(read_labels(source, some, size_px=size_px))
            yield Seen(_as_grid(output).cpu(), labels)

    def predict(self, seen: Seen) -> Iterator[Int[Tensor, "_ _"]]:
        """Yield the classes of every pixel of the labels of whole images."""
        for features, label in zip(seen.features, seen.labels, strict=True):
            yield best_classes(self.maps(features[None])[0], label.shape)

    @torch.no_grad()
    def maps(self, features: Float[Tensor, "B h w D"]) -> Float[Tensor, "B K _ _"]:
        """Return the head's scores, as in testing."""
        self.head.eval()
        scores: Tensor = self.head(features.to(self.subject.backbone.device))
        return scores

    def _add_gradients(self, features: Float[Tensor, "B h w D"], loss: PixelLoss) -> None:
        if isinstance(self.head, UpsamplingHead):  # the others' maps are no larger than features
            half = self.subject.memory_bytes // 2  # `run_probe` keeps test images in the other
            add_gradients(self.head, features, loss.backward, memory_bytes=half)
        else:
            loss.backward(self.head(features), 0)

    def _precision(self) -> AbstractContextManager[object]:
        device = self.subject.backbone.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.half_precision)


@runtime_checkable
class Probe(Preset, Protocol):
    """A protocol that trains a head; `run_probe` puts its parts together."""

    @property
    def every_epoch(self) -> bool:
        """Whether the head is also tested on the way, for the best score."""

    def make_head(self, dim: int, classes: int) -> nn.Module:
        """Return a head with new weights, from features [B, h, w, D] to maps of scores."""

    def learner(self, subject: Subject, head: nn.Module) -> Learner:
        """Return what trains a head."""

    def train(self, learner: Learner, source: SegmentationSource) -> Iterator[int]:
        """Train; yield the number of steps done wherever the head is to be tested, and last."""

    def see(
        self, learner: Learner, source: SegmentationSource, ids: Sequence[int]
    ) -> Iterator[Seen]:
        """Yield what is seen of test images."""

    def predict(self, learner: Learner, seen: Seen) -> Iterator[Int[Tensor, "_ _"]]:
        """Yield the classes of every pixel of the labels of test images."""


def run_probe(probe: Probe, subject: Subject, data: SegmentationData) -> SegmentationResult:
    """Train a probe's head on the fit images, and score it on the test images.

    The score is that of the last step. With ``every_epoch`` the best one stands beside it.
    """
    setup = start(probe, identify_segmentation(data), subject)
    dim, device = subject.backbone.dim, subject.backbone.device
    head = draw_head(
        lambda: probe.make_head(dim, len(data.classes)), probe.seed, _HEAD, device=device
    )
    learner = probe.learner(subject, head)
    images = SeenImages(
        lambda ids: probe.see(learner, data.test, ids),
        len(data.test),
        most_bytes=subject.memory_bytes // 2 if probe.every_epoch else 0,
    )
    best = 0.0
    for _ in probe.train(learner, data.fit):
        matrix = count_classes(images, lambda seen: probe.predict(learner, seen), data)
        best = max(best, mean_iou(matrix, data))
    return segmentation_result(
        matrix, data, setup.fingerprint(), best_miou=best if probe.every_epoch else None
    )


def _as_grid(output: BackboneOutput) -> Float[Tensor, "B h w D"]:
    return output.patches.reshape(len(output.patches), *output.grid, output.patches.shape[-1])
