"""Mugs' backbones."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.load import LAYOUTS, recognise
from patchwise.models.weights.mugs import is_mugs, read_mugs
from tests.models.weights.published import FAMILIES

MUGS = next(family for family in FAMILIES if family.name == "Mugs")


def file_of(contents: dict[str, object]) -> WeightsFile:
    return WeightsFile(Path("x.pth"), contents)


def test_relation_blocks_change_nothing() -> None:
    loaded = read_mugs(file_of(MUGS.contents()))
    assert loaded.left_out == ("relation_blocks.*",)
    assert loaded.vit.config.depth == 2
    for name, weight in loaded.backbone.state_dict().items():
        assert torch.equal(weight, MUGS.mapped[name])


def test_without_relation_blocks_the_file_is_that_of_ibot() -> None:
    file = file_of({"state_dict": MUGS.mapped})
    assert not is_mugs(file)
    assert recognise(file) is LAYOUTS["ibot"]
    named, found = read_mugs(file), LAYOUTS["ibot"].read(file)
    assert named.vit.config == found.backbone.config


def test_relation_blocks_without_a_backbone_are_not_mugs() -> None:
    relation = {"relation_blocks.0.norm1.weight": torch.ones(2)}
    assert not is_mugs(file_of({"state_dict": relation}))
    assert not is_mugs(file_of({**MUGS.mapped, **relation}))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["norm3.weight", "attn.qkv.scale", "mlp.fc3.bias"])
def test_other_weights_of_relation_blocks_are_named(name: str) -> None:
    extra = {f"relation_blocks.0.{name}": torch.ones(2)}
    with pytest.raises(WeightsError, match=f"got left over 'relation_blocks.0.{name}'$"):
        read_mugs(file_of({"state_dict": {**MUGS.mapped, **extra}}))
