"""Groups of patches: found where they were planted, in the same colours before and after."""

import dataclasses

import pytest
import torch

from patchwise.pictures.clusters import (
    cluster_patches,
    clusters_figure,
    order_by_size,
    purity,
    rename_clusters,
)
from tests.pictures.galleries import gallery, seen


def test_planted_groups_are_found_by_direction_whatever_the_length() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(4).repeat(20)
    length = 0.1 + 10 * torch.rand(80, 1, generator=generator)
    features = length * (torch.eye(4, 6)[truth] + 0.02 * torch.randn(80, 6, generator=generator))
    labels = cluster_patches(features, 4, seed=0)
    assert len({(int(t), int(c)) for t, c in zip(truth, labels, strict=True)}) == 4


def test_renaming_undoes_a_permutation() -> None:
    reference = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(rename_clusters(reference, order[reference], 4), reference)


def test_cluster_0_is_the_largest() -> None:
    labels = order_by_size(torch.tensor([2, 2, 2, 0, 0, 1]), 4)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_purity_by_hand() -> None:
    labels, truth = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 1, 2, 2, 2])
    assert purity(labels, truth) == pytest.approx(4 / 5)
    assert purity(truth, truth) == 1


def test_equal_features_have_equal_maps() -> None:
    same = seen()
    figure = clusters_figure(gallery(), same, dataclasses.replace(same), seed=0)
    for row in figure.rows:
        assert (row.tiles[1].pixels == row.tiles[2].pixels).all()


def test_true_categories_are_mentioned_only_where_known() -> None:
    known = gallery()
    unknown = dataclasses.replace(known, categories=None)
    assert "true category" in clusters_figure(known, seen(), seen(), seed=0).caption
    assert "true category" not in clusters_figure(unknown, seen(), seen(), seed=0).caption
