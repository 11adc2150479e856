"""Classification of images by a linear layer on frozen CLS features, without augmentation."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_within
from patchwise.data.labelled import LabelledData
from patchwise.eval.batches import training_batches
from patchwise.eval.classification import classification_result
from patchwise.eval.heads import draw_head
from patchwise.eval.linear_dino import score_features
from patchwise.eval.results import ClassificationResult
from patchwise.eval.setup import identify_labelled, part_to_score, start
from patchwise.features.read import read_cls
from patchwise.features.subject import Subject
from patchwise.features.transform import CentreCrop

_HEAD = 2  # key of draws; 0 is that of orders


@dataclass(frozen=True)
class LinearCoTAP:
    """One linear layer on frozen CLS features is trained for some steps.

    1. The short side is resized to ``resize_px``, and ``crop_px`` are cut from the middle, of all
       images. CLS features are taken as they are, and computed once.
    2. Adam at a constant rate, cross-entropy; with the published settings, one pass of ImageNet-1k.
       The score is that of the last step.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429, and its published evaluation.
    Differs: the order of images is keyed by the epoch; a last, smaller batch of an epoch is left
        out.
    """

    preset: str
    steps: int = 5000
    batch: int = 256
    rate: float = 1e-3
    resize_px: int = 256
    crop_px: int = 224
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "LinearCoTAP"
        check_positive(name, steps=self.steps, batch=self.batch, rate=self.rate)
        check_positive(name, crop_px=self.crop_px)
        check_within(name, 1, self.resize_px, crop_px=self.crop_px)

    def run(self, subject: Subject, data: LabelledData) -> ClassificationResult:
        """Score a model on labelled images."""
        test = part_to_score(data, self.preset)
        setup = start(self, identify_labelled(data), subject)
        transform = CentreCrop(self.resize_px, self.crop_px)
        features, queries = (read_cls(subject, part, transform) for part in (data.fit, test))
        labels, device = torch.from_numpy(data.fit.labels), subject.backbone.device
        head = draw_head(
            lambda: nn.Linear(features.shape[1], len(data.fit.classes)),
            self.seed,
            _HEAD,
            device=device,
        )
        optimizer = torch.optim.Adam(head.parameters(), lr=self.rate)
        for _, ids in training_batches(len(labels), self.batch, seed=self.seed, steps=self.steps):
            chosen = torch.from_numpy(ids)
            loss = F.cross_entropy(head(features[chosen].to(device)), labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return classification_result(
            score_features(head, queries),
            torch.from_numpy(data.test_labels),
            memory=len(labels),
            fingerprint=setup.fingerprint(),
        )
