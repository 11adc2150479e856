"""Normalised images have the mean and spread that backbones expect."""

import pytest
import torch

from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.errors import ShapeError
from patchwise.normalisation import normalise

OTHER = Normalisation((0.5, 0.25, 0.75), (0.5, 0.1, 1.0))


@pytest.mark.parametrize("used", [IMAGENET, OTHER])
def test_mean_goes_to_zero_and_one_deviation_to_one(used: Normalisation) -> None:
    mean, std = torch.tensor(used.mean), torch.tensor(used.std)
    images = torch.stack([mean, mean + std, mean - 2 * std])[..., None, None].expand(3, 3, 2, 4)
    expected = torch.tensor([0.0, 1.0, -2.0])[:, None, None, None].expand(3, 3, 2, 4)
    torch.testing.assert_close(normalise(images, used), expected, atol=1e-6, rtol=0)


def test_it_is_that_of_imagenet_unless_said_otherwise() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(normalise(images), normalise(images, IMAGENET))
    assert not torch.equal(normalise(images), normalise(images, OTHER))


def test_mean_zero_and_deviation_one_leave_images_as_they_are() -> None:
    images = torch.rand(2, 3, 4, 4)
    as_they_are = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert torch.equal(normalise(images, as_they_are), images)


@pytest.mark.bad_input
def test_images_without_three_channels_are_named() -> None:
    message = r"^normalise: images must have shape \(any, 3, any, any\), got \(2, 1, 4, 4\)"
    with pytest.raises(ShapeError, match=message):
        normalise(torch.zeros(2, 1, 4, 4))
