"""Normalised images have the mean and spread that backbones expect."""

import pytest
import torch

from patchwise.errors import ShapeError
from patchwise.normalisation import IMAGENET_MEAN, IMAGENET_STD, normalise


def test_mean_goes_to_zero_and_one_deviation_to_one() -> None:
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    images = torch.stack([mean, mean + std, mean - 2 * std])[..., None, None].expand(3, 3, 2, 4)
    expected = torch.tensor([0.0, 1.0, -2.0])[:, None, None, None].expand(3, 3, 2, 4)
    torch.testing.assert_close(normalise(images), expected, atol=1e-6, rtol=0)


@pytest.mark.bad_input
def test_images_without_three_channels_are_named() -> None:
    message = r"^normalise: images must have shape \(any, 3, any, any\), got \(2, 1, 4, 4\)"
    with pytest.raises(ShapeError, match=message):
        normalise(torch.zeros(2, 1, 4, 4))
