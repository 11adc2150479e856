"""The list of classes: read strictly."""

import json
from pathlib import Path

import pytest

from patchwise.data.class_list import IGNORED, official_classes, read_class_list
from patchwise.errors import DataError


def test_values_of_a_table_may_be_text_as_in_json(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {"7": "cat", "8": "dog"}}))
    classes = read_class_list(tmp_path)
    assert classes.names == ("cat", "dog")
    assert [classes.lookup[value] for value in (6, 7, 8, 255)] == [-1, 0, 1, IGNORED]
    assert (classes.fit, classes.test) == ("train", "val")


def test_published_classes_are_all_scored_and_several_values_may_be_one() -> None:
    classes = official_classes(
        ["a", "b"], {3: 1, 4: 0, 7: 1}, [0, 200], parts=("fit", "test"), background=1
    )
    assert classes.names == ("a", "b")
    assert classes.scored == (0, 1)
    assert classes.background == 1
    assert (classes.fit, classes.test) == ("fit", "test")
    expected = {0: IGNORED, 3: 1, 4: 0, 7: 1, 200: IGNORED}
    assert classes.lookup == tuple(expected.get(value, -1) for value in range(256))
    assert classes.rule == "these labels have 0, 3 to 4, 7, 200"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list of class names, or a table with classes"),
        ("classes: [a, a]", "at most 255 different names"),
        ("classes: abc", "at most 255 different names"),
        ("classes: 5", "at most 255 different names"),
        (f"classes: {list(range(256))}", "at most 255 different names"),
        ("classes: {300: a}", r"values in \[0, 255\]"),
        ("classes: {x: a}", r"values in \[0, 255\]"),
        ("classes: [a, b]\nscored: ab", "scored must be a list of different classes.*'ab'"),
        ("classes: [a, b]\nscored: [a, a]", "scored must be a list of different classes"),
        ("classes: [a, b]\nscored: []", "scored must be a list of different classes"),
        ("classes: [a, b]\nscored: null", "scored must be a list of different classes"),
        ("classes: [a, b]\nignore: [1]\nscored: [b]", "classes that are not ignored"),
        ("classes: [a]\nignored: [3]", "got 'ignored'; did you mean 'ignore'"),
        ("classes: [a]\nignore: 3", r"ignore must be a list of values in \[0, 255\], got 3"),
        ("classes: [cat]\nscored: [cta]", "got 'cta'; did you mean 'cat'"),
        ("classes: [unclosed", "must be readable YAML"),
        ("!!python/object/apply:os.system ['true']", "must be readable YAML"),
    ],
)
def test_a_wrong_class_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_list(tmp_path)


@pytest.mark.bad_input
def test_no_or_two_class_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold one of classes.yaml, .*got 0"):
        read_class_list(tmp_path)
    for name in ("classes.json", "classes.yaml"):
        (tmp_path / name).write_text("[a]")
    with pytest.raises(DataError, match=r"must hold one of classes.yaml, .*got 2"):
        read_class_list(tmp_path)
