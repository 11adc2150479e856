"""MoCo-v3's encoders."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.mocov3 import is_mocov3, read_mocov3
from tests.models.weights.published import FAMILIES, WIDE

MOCO = next(family for family in FAMILIES if family.name == "MoCo-v3")


@pytest.mark.parametrize(("dim", "heads"), [(384, 12), (768, 12), (1024, 16), (1280, 16)])
def test_heads_are_those_of_the_published_sizes(dim: int, heads: int) -> None:
    vit = ViT(replace(WIDE, dim=dim, heads=heads, mlp_ratio=4 / dim))
    weights = {f"module.base_encoder.{name}": weight for name, weight in vit.state_dict().items()}
    config = read_mocov3(WeightsFile(Path("x.pth"), {"state_dict": weights})).vit.config
    assert config.heads == heads
    assert config.interpolation == "size"


def test_the_base_encoder_is_taken() -> None:
    contents = MOCO.contents()
    loaded = read_mocov3(WeightsFile(Path("x.pth"), contents))
    for name, weight in loaded.backbone.state_dict().items():
        assert torch.equal(weight, contents["state_dict"][f"module.base_encoder.{name}"])


def test_a_momentum_encoder_alone_is_not_read() -> None:
    names = ("module.momentum_encoder.blocks.0.norm1.weight", "base_encoder.blocks.0.norm1.bias")
    assert not is_mocov3(WeightsFile(Path("x"), {"state_dict": dict.fromkeys(names, 1)}))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name",
    ["module.queue", "module.predictor.weight", "module.momentum_encoder.fc.weight"],
)
def test_other_parts_are_named(name: str) -> None:
    weights = {**MOCO.mapped, name: torch.ones(2)}
    with pytest.raises(WeightsError, match=f"got left over '{name}'$"):
        read_mocov3(WeightsFile(Path("x.pth"), {"state_dict": weights}))
