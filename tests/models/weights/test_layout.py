"""Layouts as a whole: each has a name and a title of its own."""

from pathlib import Path

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.layout import Loaded, gather
from patchwise.models.weights.load import LAYOUTS
from tests.small_runs import small_filtered


def test_titles_are_all_different() -> None:
    titles = [layout.title for layout in LAYOUTS.values()]
    assert len(set(titles)) == len(titles)


def test_nothing_is_recognised_in_other_things() -> None:
    others: list[dict[object, object]] = [
        {},
        {"conv1.weight": 1},
        {1: 2},
        {"state_dict": {}},
        {"model": 3},
    ]
    for contents in others:
        file = WeightsFile(Path("x.pth"), contents)
        assert not any(layout.recognises(file) for layout in LAYOUTS.values())


def test_parts_that_are_left_out_whole_are_said_once() -> None:
    used = ["net.cls_token", "net.blocks.0.norm1.weight", "net.norm.weight"]
    left_out = [
        "mask_token",
        "net.head.0.weight",
        "net.head.0.bias",
        "net.norm_in.weight",
        "teacher.cls_token",
        "teacher.blocks.0.norm1.weight",
        "net.blocks.0.norm_in.weight",
        "net.blocks.0.norm_in.bias",
    ]
    assert gather(left_out, used) == (
        "mask_token",
        "net.head.*",
        "net.norm_in.weight",
        "teacher.*",
        "net.blocks.0.norm_in.*",
    )


def test_names_that_begin_or_end_inside_a_used_name_are_kept_whole() -> None:
    assert gather(["a.b", "a.b.c.d"], ["a.b.c"]) == ("a.b", "a.b.c.d")
    assert gather(["optimizer.a", "optimizer.b"], ()) == ("optimizer.*",)
    assert gather((), ["a"]) == ()


def test_the_plain_vit_is_the_backbone_or_within_it() -> None:
    filtered = small_filtered()
    assert Loaded(filtered, "a test").vit is filtered.vit
    assert Loaded(filtered.vit, "a test").vit is filtered.vit
