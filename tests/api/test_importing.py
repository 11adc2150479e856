"""The user's own code, by name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchwise.api.importing import import_object, names_object
from patchwise.errors import DataError

CODE = """
from __future__ import annotations

from dataclasses import dataclass
from functools import partial

def tokens(images):
    return "tokens", images

class Holder:
    inner = tokens

@dataclass
class Made:
    width: int = 3

def make():
    return Made(7)

def scaled(factor, images):
    return factor * images

class Anything:
    def __call__(self, *arguments):
        return "called"

anything = Anything()
half = partial(scaled, 0.5)
text = "no function"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with code in it; the search path is as before, afterwards."""
    (tmp_path / "own_models.py").write_text(CODE)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "near_neighbour.py").write_text("value = 5")
    (tmp_path / "far" / "user.py").write_text("import near_neighbour\nthing = near_neighbour")
    (tmp_path / "broken_code.py").write_text("one = 1\nraise KeyError('no such key')")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize("place", ["own_models", "own_models.py", "./own_models.py"])
def test_functions_are_found_by_module_or_file(place: str) -> None:
    found = import_object(f"{place}:tokens")
    assert found(3) == ("tokens", 3)  # type: ignore[operator]
    assert import_object(f"{place}:half")(4) == 2.0  # type: ignore[operator]
    assert import_object(f"{place}:Holder.inner")(3) == ("tokens", 3)  # type: ignore[operator]
    assert import_object(f"{place}:text") == "no function"


def test_what_needs_no_argument_makes_the_object() -> None:
    assert import_object("own_models.py:make").width == 7  # type: ignore[attr-defined]
    assert import_object("own_models.py:Made").width == 3  # type: ignore[attr-defined]
    assert import_object("own_models.py:anything") != "called"


def test_a_file_finds_what_lies_beside_it(home: Path) -> None:
    found = import_object(f"{home / 'far' / 'user.py'}:thing")
    assert found.value == 5  # type: ignore[attr-defined]


def test_only_names_of_objects_are_names_of_objects(home: Path) -> None:
    for text in ("module:f", "a.b.c:f.g", "dir/file.py:f", "../file.py:f", "C:\\x\\file.py:f"):
        assert names_object(text), text
    for text in ("weights.pth", "a-b:f", "module:", ":f", "module:3", "a b:f"):
        assert not names_object(text), text
    (home / "odd:name").touch()
    assert not names_object("odd:name")


def test_names_of_layouts_before_a_path_are_no_modules() -> None:
    for text in ("timm:weights.pth", "dino:weights", "mae:a.b"):
        assert not names_object(text), text
    assert names_object("dino.py:weights")
    assert names_object("dinov4:weights")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "no_such_module:f",
            r"'no_such_module:f': .*: No module named 'no_such_module'$",
        ),
        ("nowhere/file.py:f", "FileNotFoundError"),
        ("own_models:token", r"module 'own_models' has no attribute 'token'$"),
        ("broken_code:one", r"KeyError: 'no such key' \(broken_code.py:2\)"),
        ("broken_code.py:one", r"KeyError: 'no such key' \(broken_code.py:2\)"),
        ("leaving.py:one", r"SystemExit: 3 \(leaving.py:1\)"),
    ],
)
def test_code_that_cannot_be_used_is_one_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        import_object(text)
    assert "\n" not in str(caught.value)
