"""Backbones whose weights are all different, and small enough to be saved often."""

from collections.abc import Callable

import pytest
from torch import nn

from patchwise.configs.backbone import ViTConfig
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT

MakeViT = Callable[[ViTConfig], ViT]
MakeFiltered = Callable[[ViTConfig], FilteredViT]


@pytest.fixture
def make_vit(redraw: Callable[[nn.Module], None]) -> MakeViT:
    """Return a function that builds a ViT of redrawn weights, in evaluation mode."""

    def make(config: ViTConfig) -> ViT:
        vit = ViT(config)
        redraw(vit)
        return vit.eval()

    return make


@pytest.fixture
def make_filtered(redraw: Callable[[nn.Module], None]) -> MakeFiltered:
    """Return a function that builds a filtered ViT of redrawn weights and five prototypes."""

    def make(config: ViTConfig) -> FilteredViT:
        backbone = FilteredViT(ViT(config), 5)
        redraw(backbone)
        return backbone.eval()

    return make
