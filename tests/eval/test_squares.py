"""Squashed images, and the classes in each patch."""

import numpy as np
import torch
from PIL import Image

from patchwise.data.segmentation import IGNORED
from patchwise.eval.squares import class_shares, patch_features, read_patches, read_squares, squash
from patchwise.normalisation import normalise
from tests.eval.tiny import ColourBlocks, Sighted


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


def test_features_are_of_normalised_images_and_without_gradient() -> None:
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    features = patch_features(Sighted(), pixels)
    torch.testing.assert_close(features, Sighted()(normalise(pixels.float() / 255)).patches)
    assert not features.requires_grad


def test_patches_go_row_by_row_with_their_classes() -> None:
    source = ColourBlocks(3)
    (patches,) = read_patches(Sighted(), source, [2], size_px=32, classes=3)
    _, label = source.read(2)
    assert patches.features.shape == (1, 16, 3)
    assert patches.shares.argmax(dim=-1).reshape(4, 4).tolist() == label[::8, ::8].tolist()
