"""Layouts as a whole: each has a name and a title of its own."""

from pathlib import Path

from patchwise.models.weights.files import WeightsFile
from patchwise.models.weights.load import LAYOUTS


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
