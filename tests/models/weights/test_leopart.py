"""Leopart's checkpoints."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.leopart import is_leopart, read_leopart
from tests.models.weights.published import FAMILIES

BOTH = [family for family in FAMILIES if family.layout == "leopart"]


def file_of(contents: dict[str, object]) -> WeightsFile:
    return WeightsFile(Path("x.ckpt"), contents)


@pytest.mark.parametrize("family", BOTH, ids=lambda family: family.name)
def test_the_student_is_taken(family: object) -> None:
    assert family in BOTH
    contents = BOTH[0].contents()
    loaded = read_leopart(file_of(contents))
    for name, weight in loaded.backbone.state_dict().items():
        assert torch.equal(weight, contents["state_dict"][f"model.{name}"])
        assert not torch.equal(weight, contents["state_dict"][f"teacher.{name}"])


def test_a_run_without_teacher_and_with_one_layer_in_its_head() -> None:
    head = {"model.projection_head.weight": torch.ones(2), "model.prototypes.weight": torch.ones(2)}
    loaded = read_leopart(file_of({"state_dict": {**BOTH[0].mapped, **head}}))
    assert loaded.left_out == tuple(head)


def test_the_name_of_the_model_is_whole() -> None:
    weights = {f"net.{name}": weight for name, weight in BOTH[0].mapped.items()}
    assert not is_leopart(file_of({"state_dict": weights}))
    assert not is_leopart(file_of({"model": {"blocks.0.norm1.weight": torch.ones(2)}}))
    assert is_leopart(file_of({**BOTH[0].mapped}))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["teacher.head.weight", "model.queue", "xteacher.cls_token"])
def test_other_parts_are_named(name: str) -> None:
    with pytest.raises(WeightsError, match=f"got left over '{name}'$"):
        read_leopart(file_of({**BOTH[0].mapped, name: torch.ones(2)}))


@pytest.mark.bad_input
def test_a_checkpoint_of_something_else_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"weights under 'state_dict' .*, got 'epoch'"):
        read_leopart(file_of({"epoch": 3}))
