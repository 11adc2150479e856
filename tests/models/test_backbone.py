"""Any class with the right shape is a backbone."""

import dataclasses

import pytest
import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.models.backbone import Backbone, BackboneOutput, HasBlocks
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
