"""k-NN classification of labelled images by their CLS features."""

from dataclasses import dataclass

import torch

from patchwise.checks import check_positive, check_within
from patchwise.data.labelled import LabelledData
from patchwise.eval.knn import KNN, knn_result
from patchwise.eval.results import ClassificationResult, DataIdentity
from patchwise.eval.setup import start
from patchwise.features.read import read_cls
from patchwise.features.subject import Subject
from patchwise.features.transform import CentreCrop


@dataclass(frozen=True)
class KNNImages:
    """Each test image takes the class of the images with the most similar CLS features.

    1. The short side is resized to ``resize_px``, and ``crop_px`` are cut from the middle.
    2. Weighted k-NN among the fit images, see `KNN`. With one part only, each image is classified
       by all others of the same set.

    Source: DINO, Caron et al. 2021, arXiv:2104.14294, and its published evaluation.
    Differs: Nothing known, with two parts.
    """

    preset: str
    k: int = 20
    temperature: float = 0.07
    resize_px: int = 256
    crop_px: int = 224
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        check_positive("KNNImages", k=self.k, temperature=self.temperature, crop_px=self.crop_px)
        check_within("KNNImages", 1, self.resize_px, crop_px=self.crop_px)

    def run(self, subject: Subject, data: LabelledData) -> ClassificationResult:
        """Score a model on labelled images."""
        count = len(data.test_labels)
        identity = DataIdentity(data.name, len(data.fit), count, data.fingerprint())
        setup = start(self, identity, subject)
        transform = CentreCrop(self.resize_px, self.crop_px)
        memory = read_cls(subject, data.fit, transform)
        queries = memory if data.test is None else read_cls(subject, data.test, transform)
        votes = KNN(self.k, self.temperature).classify(
            queries, memory, torch.from_numpy(data.fit.labels), leave_one_out=data.test is None
        )
        return knn_result(
            votes,
            torch.from_numpy(data.test_labels),
            memory=len(memory) - (data.test is None),
            fingerprint=setup.fingerprint(),
        )
