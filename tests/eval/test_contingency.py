"""Counts and matchings against scikit-learn, scipy, all permutations, and loops over pixels."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import jaccard_score
from sklearn.metrics.cluster import contingency_matrix

from patchwise.errors import RangeError, ShapeError
from patchwise.eval.contingency import (
    Contingency,
    majority_classes,
    paired_by_iou,
    paired_by_pixels,
)

CLUSTERS, CLASSES, IGNORED = 7, 4, 255


def random_case(
    seed: int, clusters: int = CLUSTERS, classes: int = CLASSES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clusters and labels of three images; most clusters prefer a class; some pixels are void."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, classes, (3, 8, 9))
    cluster = (label + classes * draw.integers(0, 9, label.shape)) % clusters
    cluster = np.where(draw.random(label.shape) < 0.3, draw.integers(0, clusters), cluster)
    label[draw.random(label.shape) < 0.2] = IGNORED
    return torch.from_numpy(cluster), torch.from_numpy(label.astype(np.uint8))


def counted(cluster: torch.Tensor, label: torch.Tensor, clusters: int, classes: int) -> Contingency:
    table = Contingency(clusters, classes, ignored=IGNORED)
    table.add_images(cluster[:1], label[:1])
    table.add_images(cluster[1:], label[1:])
    return table


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_scikit_learns(seed: int) -> None:
    cluster, label = random_case(seed)
    kept = label != IGNORED
    expected = contingency_matrix(cluster[kept].numpy(), label[kept].numpy())
    found = counted(cluster, label, CLUSTERS, CLASSES).counts
    assert torch.unique(cluster[kept]).tolist() == list(range(CLUSTERS))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(5))
def test_many_to_one_is_what_a_loop_over_pixels_finds(seed: int) -> None:
    """Precision of cluster k for class c = pixels of k that are of c, of all that count in k."""
    cluster, label = random_case(seed)
    match = majority_classes(counted(cluster, label, CLUSTERS, CLASSES).counts)
    for k in range(CLUSTERS):
        inside = [int(c) for c in label[cluster == k] if c != IGNORED]
        precision = [inside.count(c) / len(inside) for c in range(CLASSES)]
        assert precision[int(match[k])] == max(precision)


def test_ties_and_empty_clusters_go_to_the_first_class() -> None:
    assert majority_classes(torch.tensor([[0, 3, 3], [0, 0, 0]])).tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_the_best_of_all_permutations(seed: int) -> None:
    cluster, label = random_case(seed, 5, 5)
    kept = label != IGNORED
    counts = counted(cluster, label, 5, 5).counts
    right, overlap = {}, {}
    for order in itertools.permutations(range(5)):
        predicted = torch.tensor(order)[cluster]
        right[order] = int((predicted == label)[kept].sum())
        overlap[order] = sum(
            int(((cluster == k) & (label == c)).sum())
            / int((((cluster == k) | (label == c)) & kept).sum())
            for k, c in enumerate(order)
        )
    by_pixels, by_iou = (tuple(f(counts).tolist()) for f in (paired_by_pixels, paired_by_iou))
    assert right[by_pixels] == max(right.values())
    assert overlap[by_iou] == pytest.approx(max(overlap.values()))


def test_the_two_pairings_are_not_one() -> None:
    """Pixels: 50 against 45 + 4. IoU: 50/99 against 45/95 + 4/54."""
    counts = torch.tensor([[50, 45], [4, 0]])
    assert paired_by_pixels(counts).tolist() == [0, 1]
    assert paired_by_iou(counts).tolist() == [1, 0]


def test_a_large_pairing_is_scipys() -> None:
    counts = torch.from_numpy(np.random.default_rng(0).integers(0, 99, (60, 60)))
    rows, columns = linear_sum_assignment(-counts.numpy())
    assert int(counts[torch.arange(60), paired_by_pixels(counts)].sum()) == int(
        counts.numpy()[rows, columns].sum()
    )


def test_an_empty_cluster_and_an_absent_class_can_be_paired() -> None:
    counts = torch.tensor([[5, 0, 0], [0, 0, 0], [0, 0, 7]])
    assert paired_by_iou(counts).tolist() == paired_by_pixels(counts).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_the_matched_matrix_is_that_of_the_predicted_classes(seed: int) -> None:
    cluster, label = random_case(seed)
    table = counted(cluster, label, CLUSTERS, CLASSES)
    match = torch.tensor([0, 3, 3, 1, 0, 2, 1])
    matrix = table.matched(match)
    predicted, kept = match[cluster], label != IGNORED
    flat = label[kept].numpy(), predicted[kept].numpy()
    expected = jaccard_score(*flat, average=None, labels=range(CLASSES))
    np.testing.assert_allclose(matrix.iou(), expected)
    assert matrix.pixel_accuracy() == pytest.approx(float((flat[0] == flat[1]).mean()))
    for image in range(3):
        for c in range(CLASSES):
            says, is_ = (predicted == c)[image] & kept[image], (label == c)[image]
            sums = [int((says & is_).sum()), int(says.sum()), int(is_.sum())]
            assert matrix.by_image[image, :, c].tolist() == sums


def test_500_clusters_cost_what_their_pixels_cost() -> None:
    """Only pairs that occur are kept of an image: here at most its 100 pixels."""
    draw = torch.Generator().manual_seed(0)
    table = Contingency(500, 150, ignored=IGNORED)
    for _ in range(5):
        cluster = torch.randint(0, 500, (1, 10, 10), generator=draw)
        table.add_images(cluster, torch.randint(0, 150, (1, 10, 10), generator=draw))
    assert int(table.counts.sum()) == 500
    assert len(table._cells) == len(table._pixels) <= 500


def test_an_image_without_a_label_counts_nothing() -> None:
    table = Contingency(2, 2, ignored=IGNORED)
    table.add_images(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), IGNORED))
    matrix = table.matched(torch.tensor([0, 1]))
    assert matrix.by_image.tolist() == [[[0, 0], [0, 0], [0, 0]]]
    assert math.isnan(matrix.pixel_accuracy())


@pytest.mark.bad_input
def test_what_is_no_cluster_or_no_class_is_refused() -> None:
    table = Contingency(3, 2, ignored=IGNORED)
    with pytest.raises(RangeError, match=r"clusters must lie in \[0, 3\), got values from 0 to 3"):
        table.add_images(torch.tensor([[[0, 3]]]), torch.tensor([[[0, 1]]]))
    with pytest.raises(RangeError, match=r"labels must lie in \[0, 2\), got values from 0 to 2"):
        table.add_images(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 2]]]))
    with pytest.raises(RangeError, match="got values from -1 to 0"):
        table.add_images(torch.tensor([[[0, -1]]]), torch.tensor([[[0, 1]]]))
    with pytest.raises(ShapeError, match="same shape"):
        table.add_images(torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3).long())
    with pytest.raises(ShapeError, match="as many clusters as classes, got 3 x 2"):
        paired_by_pixels(table.counts)
