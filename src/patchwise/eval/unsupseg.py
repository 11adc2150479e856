"""Segmentation without labels: as many clusters as classes, paired with them afterwards."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.data.class_list import IGNORED
from patchwise.data.images import centre_crop
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.eval.contingency import Contingency, paired_by_pixels
from patchwise.eval.results import SegmentationResult
from patchwise.eval.segmentation import segmentation_result
from patchwise.eval.setup import identify_segmentation, start
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import CentreCrop
from patchwise.ops.clustering import faiss_k_means
from patchwise.randomness import random_order, random_seed

_IMAGES, _PATCHES, _STARTS = 0, 1, 2  # keys of draws


@dataclass(frozen=True)
class UnsupervisedSegmentation:
    """Every pixel goes to one of as many clusters as there are classes.

    1. The short side of image and labels is resized to ``size_px``, labels to the nearest, and the
       middle square is cut out.
    2. Clusters: k-means by cosine of patches of the fit images, whose labels are not looked at:
       ``patches`` of each of ``images``, both drawn by the seed.
    3. Test images: features are enlarged bilinearly to the labels' size, and each pixel goes to the
       centre of highest cosine.
    4. Clusters and classes are paired one to one, so that most pixels are right (Hungarian). Pixel
       accuracy and IoU come from one confusion matrix of all images; void pixels do not count. The
       interval is over images, with clusters and pairs as they are.

    Source: STEGO, Hamilton et al. 2022, arXiv:2203.08414, and its published evaluation.
    Differs: of the features as they are, no segmentation head is trained; k-means takes the place
        of a cluster probe that learns the same cosine objective by Adam while that head is trained;
        images are resized by a bicubic filter, where theirs take the nearest pixel; no mean with
        the mirrored image, no CRF, no extra clusters; VOC is cropped like all others.
    """

    preset: str
    size_px: int = 320
    images: int = 1024
    patches: int = 100
    iterations: int = 100
    restarts: int = 5
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "UnsupervisedSegmentation"
        check_positive(name, size_px=self.size_px, images=self.images, patches=self.patches)
        check_positive(name, iterations=self.iterations, restarts=self.restarts)

    @torch.no_grad()
    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_segmentation(data), subject)
        classes = len(data.classes)
        centres = faiss_k_means(
            self._points(subject, data.fit),
            classes,
            seed=random_seed(self.seed, _STARTS),
            iterations=self.iterations,
            restarts=self.restarts,
            spherical=True,
        )
        table = Contingency(classes, classes, ignored=IGNORED)
        first = 0
        for found in read_features(subject, data.test.images, self._transform):
            # The length of a feature does not change which centre is nearest, and products with
            # centres may be enlarged in place of the features: both steps are linear.
            scores = centres.scores(found.patches).mT
            scores = scores.reshape(*scores.shape[:2], *found.grid)
            size = (self.size_px, self.size_px)
            clusters = F.interpolate(scores, size=size, mode="bilinear").argmax(dim=1)
            labels = [self._label(data.test, first + i) for i in range(len(clusters))]
            table.add_images(clusters.cpu(), torch.from_numpy(np.stack(labels)))
            first += len(clusters)
        matrix = table.matched(paired_by_pixels(table.counts))
        return segmentation_result(matrix, data, setup.fingerprint())

    @property
    def _transform(self) -> CentreCrop:
        return CentreCrop(self.size_px, self.size_px)

    def _label(self, source: SegmentationSource, index: int) -> UInt8[np.ndarray, "S S"]:
        return centre_crop(
            source.label(index),
            resize_px=self.size_px,
            crop_px=self.size_px,
            resampling=Image.Resampling.NEAREST,
        )

    def _points(self, subject: Subject, source: SegmentationSource) -> Float[Tensor, "M D"]:
        """Return unit features of the drawn patches."""
        ids = random_order(len(source), self.seed, _IMAGES)[: self.images].tolist()
        points: list[Tensor] = []
        for found in read_features(subject, source.images, self._transform, ids=ids):
            for patches in F.normalize(found.patches, dim=-1):
                key = (self.seed, ids[len(points)], _PATCHES)
                order = torch.from_numpy(random_order(len(patches), *key)[: self.patches].copy())
                points.append(patches[order.to(patches.device)].cpu())
        return torch.cat(points)
