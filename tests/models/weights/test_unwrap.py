"""Sections of training checkpoints."""

from pathlib import Path

import pytest
import torch

from patchwise.errors import WeightsError
from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.unwrap import (
    has_blocks,
    has_teacher,
    names_in,
    open_section,
    open_teacher,
    unwrap,
)

ONE = torch.ones(2)
BLOCKS = {"backbone.blocks.0.norm1.weight": ONE}
BEHIND = {"module.backbone.blocks.0.norm1.weight": ONE}


def file_of(contents: dict[object, object]) -> WeightsFile:
    return WeightsFile(Path("x.pth"), contents)


def test_a_section_is_a_file_of_its_own() -> None:
    file = file_of({"state_dict": {"a": ONE, 3: ONE}, "epoch": 3})
    assert names_in(unwrap(file, "state_dict")) == ["a"]
    assert unwrap(file, "state_dict").path == file.path
    assert names_in(unwrap(file, "epoch")) == names_in(unwrap(file, "nothing")) == []


def test_blocks_are_found_behind_their_prefix_only() -> None:
    file = file_of({"net.blocks.0.norm1.weight": ONE, "decoder_blocks.0.bias": ONE})
    assert has_blocks(file, "net.")
    assert not has_blocks(file)
    assert not has_blocks(file, "et.")


def test_weights_are_opened_with_what_lies_beside_them() -> None:
    file = file_of(
        {
            "epoch": 3,
            "args": object(),
            "optimizer": {"state": {0: {"exp_avg": ONE, "step": 3}}, "param_groups": [{"lr": 1}]},
            "state_dict": {"net.a": ONE},
            "centre": ONE,
            "ema": {},
        }
    )
    keys = open_section(file, "state_dict", source="a test", prefix="net.")
    assert keys.find("a") is ONE
    assert (keys.source, keys.prefix) == ("a test", "net.")
    assert keys.beside == ("optimizer.state.0.exp_avg", "centre")


def test_what_lies_beside_may_hold_itself() -> None:
    contents: dict[object, object] = {"state_dict": {"a": ONE}, "centre": ONE}
    deep: dict[object, object] = {"x": ONE}
    for _ in range(2000):
        deep = {"y": deep}
    contents |= {"all": contents, "deep": deep}
    beside = open_section(file_of(contents), "state_dict", source="a test").beside
    assert beside[:3] == ("centre", "all.state_dict.a", "all.centre")
    assert beside[-1].endswith(".y.y.x")


def test_the_teacher_comes_before_the_student() -> None:
    both = file_of({"student": BEHIND, "teacher": BLOCKS})
    keys = open_teacher(both, source="a test")
    assert (keys.source, keys.prefix) == ("a test: teacher", "backbone.")
    assert keys.beside == ("student.module.backbone.blocks.0.norm1.weight",)
    alone = open_teacher(file_of({"student": BEHIND, "teacher": {"head": ONE}}), source="a test")
    assert (alone.source, alone.prefix) == ("a test: student", "module.backbone.")


def test_a_teacher_is_a_dict_with_a_backbone() -> None:
    assert has_teacher(file_of({"student": BLOCKS}))
    assert has_teacher(file_of({"teacher": BEHIND}))
    others: list[dict[object, object]] = [
        {},
        {"teacher": None},
        {"teacher": {"blocks.0.norm1.weight": ONE}},
        dict(BLOCKS.items()),
    ]
    assert not any(has_teacher(file_of(contents)) for contents in others)


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [None, [ONE], ONE])
def test_a_missing_section_is_named(value: object) -> None:
    file = file_of({"model": value, "epoch": 3})
    with pytest.raises(
        WeightsError, match=r"under 'model' \(read as a test\), got 'model', 'epoch'"
    ):
        open_section(file, "model", source="a test")


@pytest.mark.bad_input
def test_a_section_of_other_things_is_refused() -> None:
    file = file_of({"model": {"a": ONE, "blocks": 3}})
    with pytest.raises(WeightsError, match="got other things under 'blocks'"):
        open_section(file, "model", source="a test")


@pytest.mark.bad_input
def test_no_teacher_and_no_student_is_said() -> None:
    file = file_of({"teacher": {}, "optimizer": {}})
    with pytest.raises(
        WeightsError, match=r"under 'teacher' or 'student' .*, got 'teacher', 'opti"
    ):
        open_teacher(file, source="a test")
