"""Nearest patches: planted copies are found, never in the image itself."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from patchwise.pictures.nearest import nearest_figure, nearest_patches, right_share
from tests.pictures.galleries import gallery, seen


def test_planted_copies_are_found_and_never_in_the_same_image() -> None:
    patches = seen().patches.clone()
    patches[4, 7] = 3 * patches[1, 2]  # a copy of other length
    patches[1, 9] = patches[1, 2]  # a copy in the image itself
    found = nearest_patches(patches, torch.tensor([1]), torch.tensor([2]), k=5)
    assert (int(found.image[0, 0]), int(found.patch[0, 0])) == (4, 7)
    assert float(found.cosine[0, 0]) == pytest.approx(1, abs=1e-5)
    assert 1 not in found.image[0].tolist()


def test_it_is_the_best_patch_of_each_image_in_order() -> None:
    patches = seen().patches
    images, queries = torch.tensor([0, 3, 5]), torch.tensor([0, 11, 15])
    found = nearest_patches(patches, images, queries, k=4)
    unit = F.normalize(patches, dim=-1)
    for q in range(3):
        table = {
            image: max((float(unit[images[q], queries[q]] @ unit[image, n]), n) for n in range(16))
            for image in range(6)
            if image != images[q]
        }
        best = sorted(table, key=lambda image: -table[image][0])[:4]
        assert found.image[q].tolist() == best
        assert found.patch[q].tolist() == [table[image][1] for image in best]


def test_there_are_no_more_than_other_images() -> None:
    found = nearest_patches(seen(3).patches, torch.tensor([0]), torch.tensor([0]), k=9)
    assert sorted(found.image[0].tolist()) == [1, 2]


def test_the_right_share_is_1_for_features_that_are_categories() -> None:
    categories = gallery().categories
    assert categories is not None
    assert right_share(F.one_hot(categories).float(), categories) == 1
    blind = torch.ones(6, 16, 4)
    assert right_share(blind, categories) < 0.6


def test_right_and_wrong_are_marked_by_sign_and_words() -> None:
    shown = gallery()
    assert shown.categories is not None
    good = dataclasses.replace(seen(), patches=F.one_hot(shown.categories).float())
    figure = nearest_figure(shown, seen(), good, seed=0)
    after = [tile for row in figure.rows[1::2] for tile in row.tiles[1:]]
    assert all(tile.label == "1.00 ✓" and "of the same category" in tile.alt for tile in after)
    before = [tile for row in figure.rows[::2] for tile in row.tiles[1:]]
    assert any(tile.label.endswith("✗") for tile in before)
    assert "100% are right" not in figure.caption.split("before")[0]
    assert "before and 100% after" in figure.caption


def test_without_categories_nothing_is_called_right() -> None:
    unknown = dataclasses.replace(gallery(), categories=None)
    figure = nearest_figure(unknown, seen(), seen(seed=1), seed=0)
    labels = [tile.label for row in figure.rows for tile in row.tiles]
    assert not any("✓" in label or "✗" in label for label in labels)
    assert "right" not in figure.caption


def test_the_same_query_stands_in_both_rows() -> None:
    figure = nearest_figure(gallery(), seen(), seen(seed=1), seed=0)
    for before, after in zip(figure.rows[::2], figure.rows[1::2], strict=True):
        assert (before.tiles[0].pixels == after.tiles[0].pixels).all()
