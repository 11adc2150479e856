"""Any class with the right shape is a backbone."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.models.backbone import (
    Backbone,
    BackboneOutput,
    HasBlocks,
    normalisation_of,
    prepare,
)
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT


class PatchColours:
    """The mean colour of every patch; no network at all."""

    dim = 3
    patch_px = 4
    device = torch.device("cpu")

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        maps = torch.nn.functional.avg_pool2d(images, self.patch_px)
        return BackboneOutput(
            cls=images.mean(dim=(2, 3)),
            patches=maps.flatten(2).mT,
            grid=(maps.shape[2], maps.shape[3]),
        )


def test_a_vit_and_a_plain_class_are_both_backbones() -> None:
    """The annotation is checked by mypy; here both are run through the same call."""
    backbones: list[Backbone] = [
        PatchColours(),
        ViT(ViTConfig(dim=12, depth=1, heads=3, patch_px=4, image_px=8)),
    ]
    for backbone in backbones:
        output = backbone(torch.rand(2, 3, 8, 16))
        assert output.cls.shape == (2, backbone.dim)
        assert output.patches.shape == (2, 8, backbone.dim)
        assert output.grid == (2, 4)
        assert output.attention is None


def test_a_vit_tells_of_its_blocks_and_a_plain_class_need_not() -> None:
    vit = ViT(ViTConfig(dim=12, depth=2, heads=3, patch_px=4, image_px=8))
    assert isinstance(vit, HasBlocks)
    assert not isinstance(PatchColours(), HasBlocks)


def test_an_output_cannot_be_changed() -> None:
    output = PatchColours()(torch.rand(1, 3, 8, 8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        output.grid = (1, 4)  # type: ignore[misc]


OTHER = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
CONFIG = ViTConfig(dim=12, depth=1, heads=3, patch_px=4, image_px=8)
OTHER_CONFIG = dataclasses.replace(CONFIG, pixel_mean=OTHER.mean, pixel_std=OTHER.std)


def test_ours_say_how_their_images_are_normalised() -> None:
    assert normalisation_of(ViT(CONFIG)) == IMAGENET
    assert normalisation_of(ViT(OTHER_CONFIG)) == OTHER
    assert normalisation_of(FilteredViT(ViT(OTHER_CONFIG), 2)) == OTHER


@pytest.mark.parametrize(
    ("said", "expected"), [(OTHER, OTHER), (None, IMAGENET), (torch.nn.Identity(), IMAGENET)]
)
def test_others_may_say_so(said: object, expected: Normalisation) -> None:
    backbone: Any = PatchColours()
    assert normalisation_of(backbone) == IMAGENET
    backbone.normalisation = said
    assert normalisation_of(backbone) == expected


def test_bytes_become_what_a_backbone_takes() -> None:
    pixels = torch.randint(256, (2, 3, 4, 8), dtype=torch.uint8)
    for backbone, used in ((PatchColours(), IMAGENET), (ViT(OTHER_CONFIG), OTHER)):
        found = prepare(backbone, pixels)
        assert found.dtype == torch.float32
        for channel, (mean, std) in enumerate(zip(used.mean, used.std, strict=True)):
            expected = (pixels[:, channel].double() / 255 - mean) / std
            torch.testing.assert_close(found[:, channel].double(), expected, atol=1e-5, rtol=0)
