"""Squashed images, and the classes in each patch."""

import numpy as np
import pytest
import torch
from PIL import Image

from patchwise.data.class_list import IGNORED
from patchwise.eval.squares import class_shares, read_patches, read_squares, squash
from tests.eval.tiny import ColourBlocks, Sighted, subject_of


def test_images_of_the_size_are_left_as_they_are() -> None:
    source = ColourBlocks(5)
    (first, second) = read_squares(source, [4, 0, 2], size_px=32, batch=2)
    assert (len(first.pixels), len(second.pixels)) == (2, 1)
    image, label = source.read(4)
    np.testing.assert_array_equal(first.pixels[0].movedim(0, -1), image)
    np.testing.assert_array_equal(first.labels[0], label)


def test_labels_are_never_mixed() -> None:
    _, label = ColourBlocks(1).read(0)
    small = squash(label, 10, Image.Resampling.NEAREST)
    assert small.shape == (10, 10)
    assert set(np.unique(small)) <= set(np.unique(label))


def test_shares_count_pixels_and_ignored_ones_belong_to_none() -> None:
    labels = torch.zeros(1, 8, 16, dtype=torch.uint8)
    labels[0, :, 3:8] = 2  # 5 of 8 columns of the left patch
    labels[0, :4, 8:] = IGNORED
    shares = class_shares(labels, patch_px=8, classes=3)
    expected = torch.tensor([[[3 / 8, 0, 5 / 8], [1 / 2, 0, 0]]])
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("seed", range(3))
def test_shares_equal_those_of_one_hot_maps(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (2, 24, 24), generator=generator)
    labels[labels == 4] = IGNORED
    one_hot = torch.stack([labels == c for c in range(4)], dim=1).float()
    expected = torch.nn.functional.avg_pool2d(one_hot, 8).flatten(2).mT
    found = class_shares(labels.to(torch.uint8), patch_px=8, classes=4)
    torch.testing.assert_close(found, expected)


def test_patches_go_row_by_row_with_their_classes() -> None:
    source = ColourBlocks(3)
    (patches,) = read_patches(subject_of(Sighted()), source, [2], size_px=32, classes=3)
    _, label = source.read(2)
    assert patches.features.shape == (1, 16, 3)
    assert patches.shares.argmax(dim=-1).reshape(4, 4).tolist() == label[::8, ::8].tolist()
