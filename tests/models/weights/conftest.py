"""Backbones whose weights are all different, and small enough to be saved often."""

from collections.abc import Callable

import pytest
from torch import nn

from patchwise.configs.backbone import ViTConfig
from patchwise.models.vit import ViT

MakeViT = Callable[[ViTConfig], ViT]


@pytest.fixture
def make_vit(redraw: Callable[[nn.Module], None]) -> MakeViT:
    """Return a function that builds a ViT of redrawn weights, in evaluation mode."""

    def make(config: ViTConfig) -> ViT:
        vit = ViT(config)
        redraw(vit)
        return vit.eval()

    return make
