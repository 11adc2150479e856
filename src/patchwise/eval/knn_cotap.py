"""k-NN classification of images with the best of several settings, as CoTAP reports it."""

from dataclasses import dataclass, replace

import torch

from patchwise.checks import check_positive, check_within
from patchwise.data.labelled import LabelledData
from patchwise.eval.classification import accuracy
from patchwise.eval.images import neighbours_of_images
from patchwise.eval.knn import KNN, knn_result
from patchwise.eval.results import ClassificationResult
from patchwise.eval.setup import identify_labelled, start
from patchwise.features.subject import Subject
from patchwise.features.transform import CentreCrop


@dataclass(frozen=True)
class KNNCoTAP:
    """The best of a grid of k and temperatures, chosen on the images that are scored.

    Images and votes are those of `KNNImages`; a k that there are too few images for is left out.
    ``others`` of the result holds the whole grid, ``selected`` says what was chosen: of equal
    accuracies, the smallest k and temperature. Such a score is too high by the choice.

    Source: CoTAP, Wen et al. 2025, arXiv:2509.09429, and its published evaluation.
    Differs: Nothing known, with two parts.
    """

    preset: str
    k: tuple[int, ...] = (5, 10, 20, 50, 100)
    temperature: tuple[float, ...] = (0.05, 0.07, 0.1, 0.15, 0.2)
    resize_px: int = 256
    crop_px: int = 224
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "KNNCoTAP"
        check_positive(name, crop_px=self.crop_px)
        check_within(name, 1, self.resize_px, crop_px=self.crop_px)
        check_within(name, 1, float("inf"), **{"number of k": len(self.k)})
        check_within(name, 1, float("inf"), **{"number of temperatures": len(self.temperature)})
        check_positive(name, **{f"k[{i}]": k for i, k in enumerate(self.k)})
        check_positive(name, **{f"temperature[{i}]": t for i, t in enumerate(self.temperature)})

    def run(self, subject: Subject, data: LabelledData) -> ClassificationResult:
        """Score a model on labelled images."""
        setup = start(self, identify_labelled(data), subject)
        found = neighbours_of_images(
            subject, data, CentreCrop(self.resize_px, self.crop_px), k=tuple(sorted(self.k))
        )
        truth, classes = torch.from_numpy(data.test_labels), len(data.fit.classes)
        grid = {
            f"k={k} T={temperature}": KNN(k, temperature)
            for k in sorted(self.k)
            if k <= found.cosine.shape[1]
            for temperature in sorted(self.temperature)
        }
        others = {
            name: accuracy(knn.vote(found, classes=classes), truth) for name, knn in grid.items()
        }
        best = max(others, key=lambda name: others[name])
        result = knn_result(
            grid[best].vote(found, classes=classes),
            truth,
            memory=len(data.fit) - (data.test is None),
            fingerprint=setup.fingerprint(),
        )
        selected = f"{best}, chosen on the images that are scored"
        return replace(result, others=others, selected=selected)
