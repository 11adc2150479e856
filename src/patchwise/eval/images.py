"""k-NN classification of labelled images by their CLS features."""

from dataclasses import dataclass, replace

import torch

from patchwise.checks import check_positive, check_within
from patchwise.data.labelled import LabelledData
from patchwise.eval.classification import accuracy
from patchwise.eval.knn import KNN, Neighbours, knn_result, nearest
from patchwise.eval.results import ClassificationResult
from patchwise.eval.setup import identify_labelled, start
from patchwise.features.read import read_cls
from patchwise.features.subject import Subject
from patchwise.features.transform import CentreCrop


@dataclass(frozen=True)
class KNNImages:
    """Each test image takes the class of the images with the most similar CLS features.

    1. The short side is resized to ``resize_px``, and ``crop_px`` are cut from the middle.
    2. Weighted k-NN among the fit images, see `KNN`. With one part only, each image is classified
       by all others of the same set. The score is that of ``k``; accuracies of ``other_k`` stand
       beside it, but for those with no more than k images to look among.

    Source: DINO, Caron et al. 2021, arXiv:2104.14294, and its published evaluation.
    Differs: Nothing known, with two parts.
    """

    preset: str
    k: int = 20
    temperature: float = 0.07
    resize_px: int = 256
    crop_px: int = 224
    seed: int = 0
    other_k: tuple[int, ...] = (10, 100, 200)

    version = 1

    def __post_init__(self) -> None:
        check_positive("KNNImages", k=self.k, temperature=self.temperature, crop_px=self.crop_px)
        check_within("KNNImages", 1, self.resize_px, crop_px=self.crop_px)
        check_positive("KNNImages", **{f"other_k[{i}]": k for i, k in enumerate(self.other_k)})

    def run(self, subject: Subject, data: LabelledData) -> ClassificationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_labelled(data), subject)
        found = neighbours_of_images(
            subject, data, CentreCrop(self.resize_px, self.crop_px), k=(self.k, *self.other_k)
        )
        truth, classes = torch.from_numpy(data.test_labels), len(data.fit.classes)
        result = knn_result(
            KNN(self.k, self.temperature).vote(found, classes=classes),
            truth,
            memory=len(data.fit) - (data.test is None),
            fingerprint=setup.fingerprint(),
        )
        others = {
            f"k={k}": accuracy(KNN(k, self.temperature).vote(found, classes=classes), truth)
            for k in self.other_k
            if k <= found.cosine.shape[1]
        }
        return replace(result, others=others)


def neighbours_of_images(
    subject: Subject, data: LabelledData, transform: CentreCrop, *, k: tuple[int, ...]
) -> Neighbours:
    """Return the labelled images most similar to each test image, by cosine of CLS features.

    Args:
        subject: Whose features.
        data: With one part only, no image is its own neighbour.
        transform: How images are seen.
        k: Numbers of neighbours that are asked for: as many are found as the largest one, but
            those but the first that there are too few images for.

    Raises:
        RangeError: There are not even more images than the first of ``k``.
    """
    memory = read_cls(subject, data.fit, transform)
    queries = memory if data.test is None else read_cls(subject, data.test, transform)
    most = max([k[0], *(wanted for wanted in k if wanted < len(memory))])
    labels = torch.from_numpy(data.fit.labels)
    return nearest(queries, memory, labels, k=most, leave_one_out=data.test is None)
