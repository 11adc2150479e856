"""Segmentation by clusters of patches, each of which stands for a class."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from patchwise.checks import check_positive
from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData
from patchwise.eval.contingency import Contingency, majority_classes, paired_by_iou
from patchwise.eval.drawing import draw_patches, gather_rows, image_keys
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.eval.results import SegmentationResult
from patchwise.eval.segmentation import mean_of_runs
from patchwise.eval.setup import identify_segmentation, start
from patchwise.eval.squares import read_labels
from patchwise.features.held import Held
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.ops.clustering import Centres, faiss_k_means
from patchwise.ops.projection import standardised_pca
from patchwise.randomness import random_seed

_STARTS, _POINTS = 0, 1  # keys of draws


@dataclass(frozen=True)
class Overclustering:
    """Patches of the test images are put into many groups; each takes the class that fits it best.

    1. Test images are squashed to ``size_px``. The channels of all their patch features, void or
       not, are standardised (z-score); the ``dims`` main directions are kept (PCA).
    2. k-means, the best of ``restarts`` starts of ``iterations`` each, on ``points_per_cluster``
       patches a cluster at most, drawn by the seed; then all patches go to the nearest centre.
    3. Labels are squashed to ``size_px``, then they and the maps of clusters are brought to
       ``label_px``; each pixel takes the nearest. Void pixels do not count, the background does.
    4. Each cluster predicts the class that most of its pixels have: many to one, by precision. With
       as many clusters as classes, they are paired one to one for the highest sum of IoU.
    5. One confusion matrix of all images. 2 to 4 are run ``runs`` times; the scores are means. The
       interval is over images, with the clusters and their classes as all images give them.

    The labels choose the classes of the clusters: the more clusters, the more such help. Scores
    with other ``clusters`` must not be compared.

    Source: Leopart, Ziegler and Asano 2022, arXiv:2204.13101, and its published evaluation, which
        NeCo, Pariza et al. 2024, arXiv:2408.11054, uses too.
    Differs: images are squashed by a bicubic, not a bilinear filter; the PCA sees all patches, not
        at most 1,000 a channel; the drawn patches are keyed by their image; a class that occurs
        neither in labels nor in predictions is left out of the mean, where theirs counts as 0.
    """

    preset: str
    size_px: int = 448
    label_px: int = 100
    clusters: int | None = 500  # None: as many as there are classes
    dims: int = 50  # at most; a backbone with fewer channels keeps them all
    runs: int = 5
    iterations: int = 100
    restarts: int = 5
    points_per_cluster: int = 256
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        name = "Overclustering"
        check_positive(name, size_px=self.size_px, label_px=self.label_px, dims=self.dims)
        check_positive(name, runs=self.runs, iterations=self.iterations, restarts=self.restarts)
        check_positive(name, points_per_cluster=self.points_per_cluster)
        if self.clusters is not None:
            check_positive(name, clusters=self.clusters)

    @torch.no_grad()
    def run(self, subject: Subject, data: SegmentationData) -> SegmentationResult:
        """Score a model on the labelled test images; the fit images are not looked at."""
        setup = start(self, identify_segmentation(data), subject)
        clusters = self.clusters or len(data.classes)
        features = self._reduced(subject, data)
        runs = self._centres(subject, data, features, clusters)
        tables = [Contingency(clusters, len(data.classes), ignored=IGNORED) for _ in runs]
        side = self.size_px // subject.backbone.patch_px
        first = 0
        for patches in features:
            ids = range(first, first + len(patches))
            labels = read_labels(data.test, ids, size_px=self.size_px)
            labels = to_nearest(labels, self.label_px)
            for centres, table in zip(runs, tables, strict=True):
                maps = centres.nearest(patches).reshape(len(patches), side, side)
                table.add_images(to_nearest(maps, self.label_px), labels)
            first += len(patches)
        return mean_of_runs([_matched(table) for table in tables], data, setup.fingerprint())

    def _reduced(self, subject: Subject, data: SegmentationData) -> Held:
        """Return the reduced features of all test images [B, N, P]; half of the memory each."""
        half = subject.memory_bytes // 2

        def read() -> Iterator[Float[Tensor, "B N D"]]:
            for found in read_features(subject, data.test.images, Squash(self.size_px)):
                yield found.patches

        rows = len(data.test)
        whole = Held(read, rows=rows, most_bytes=half)
        projection = standardised_pca((patches.flatten(0, 1) for patches in whole), self.dims)
        return Held(lambda: map(projection, whole), rows=rows, most_bytes=half)

    def _centres(
        self, subject: Subject, data: SegmentationData, features: Held, clusters: int
    ) -> list[Centres]:
        """Return the centres of every run."""
        keys = image_keys(data.test.images)
        patches = (self.size_px // subject.backbone.patch_px) ** 2
        most = clusters * self.points_per_cluster
        draws = [draw_patches(keys, patches, most, self.seed, r, _POINTS) for r in range(self.runs)]
        points = gather_rows((rows.flatten(0, 1) for rows in features), draws)
        return [
            faiss_k_means(
                drawn,
                clusters,
                seed=random_seed(self.seed, run, _STARTS),
                iterations=self.iterations,
                restarts=self.restarts,
            )
            for run, drawn in enumerate(points)
        ]


def to_nearest(maps: Integer[Tensor, "B S S"], side: int) -> Integer[Tensor, "B L L"]:
    """Resize square maps: each pixel takes the value at its own top left corner.

    So does PyTorch's ``interpolate(mode="nearest")``, which the published evaluation uses for
    labels and clusters alike: both are looked up at the same places of the image.
    """
    place = torch.arange(side) * maps.shape[-1] // side
    return maps[:, place[:, None], place]


def _matched(table: Contingency) -> ConfusionMatrix:
    one_to_one = table.clusters == table.classes
    match = paired_by_iou if one_to_one else majority_classes
    return table.matched(match(table.counts))
