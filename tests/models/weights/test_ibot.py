"""iBOT's backbones and runs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.ibot import is_ibot, read_ibot
from tests.models.weights.published import FAMILIES, others

BACKBONE, FULL = (
    next(family for family in FAMILIES if family.name == name) for name in ("iBOT", "iBOT, full")
)


def file_of(contents: dict[str, object]) -> WeightsFile:
    return WeightsFile(Path("x.pth"), contents)


def test_the_teacher_of_a_run_is_taken() -> None:
    loaded = read_ibot(file_of(FULL.contents()))
    for name, weight in loaded.backbone.state_dict().items():
        assert torch.equal(weight, FULL.backbone.state_dict()[name])
    assert loaded.layout == "a checkpoint of iBOT's training: teacher"


def test_the_student_may_hide_patches() -> None:
    student = {f"module.{name}": w for name, w in others(FULL.mapped).items()}
    masked = "module.backbone.masked_embed"
    loaded = read_ibot(file_of({"student": {**student, masked: torch.ones(1, 192)}}))
    assert loaded.left_out == (masked,)
    assert torch.equal(loaded.vit.norm.bias, student["module.backbone.norm.bias"])


@pytest.mark.parametrize(
    "extra",
    [
        "masked_embed",
        "backbone.masked_embed",
        "head.last_layer.weight_g",
        "head.last_layer2.weight_v",
        "head.last_layer2.parametrizations.weight.original1",
        "head.mlp2.bias",
        "head.last_norm.running_mean",
        "head.last_norm2.running_var",
    ],
)
def test_heads_of_any_kind_are_left_out(extra: str) -> None:
    loaded = read_ibot(file_of({"teacher": {**FULL.mapped, extra: torch.ones(2)}}))
    assert loaded.left_out == (extra,)


@pytest.mark.parametrize(
    ("where", "mark"),
    [
        ("student", "module.backbone.masked_embed"),
        ("student", "module.head.last_layer2.weight_g"),
        ("teacher", "head.mlp2.weight"),
        ("ibot_loss", "center"),
    ],
)
def test_any_mark_of_ibot_makes_a_run_of_ibot(where: str, mark: str) -> None:
    run: dict[str, dict[str, Tensor]] = {"student": {}, "teacher": dict(FULL.mapped)}
    assert not is_ibot(file_of({**run}))
    run.setdefault(where, {})[mark] = torch.ones(2)
    assert is_ibot(file_of({**run}))


@pytest.mark.bad_input
def test_another_container_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"under 'state_dict' \(read as iBOT's backbone\), got"):
        read_ibot(file_of({**BACKBONE.mapped}))
