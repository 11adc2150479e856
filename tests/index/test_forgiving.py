"""Bad images are noted, and too many are an error."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from patchwise.data.images import ImageProblem
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from patchwise.index.forgiving import Forgiving
from tests.data.numbered import Numbered


def test_good_images_are_those_of_the_source(tmp_path: Path) -> None:
    source = Numbered(5)
    forgiving: ImageSource = Forgiving(source, tmp_path / "bad", 1)
    assert (forgiving.name, len(forgiving)) == (source.name, 5)
    assert forgiving.describe(3) == source.describe(3)
    assert forgiving.fingerprint() == source.fingerprint()
    assert np.array_equal(forgiving.read(3), source.read(3))
    assert not (tmp_path / "bad").exists()


def test_bad_ones_are_grey_and_noted_for_all_processes(tmp_path: Path) -> None:
    forgiving = Forgiving(Numbered(20, bad=frozenset(range(20))), tmp_path / "bad", 9)
    for index in (11, 3, 19, 12, 8, 14, 3, 0, 11):
        grey = pickle.loads(pickle.dumps(forgiving)).read(index)
        assert grey.std() == 0
        assert min(grey.shape[:2]) >= 16
    found = Forgiving(Numbered(20), tmp_path / "bad", 9).bad_images()
    assert [(bad.index, bad.reason, bad.description) for bad in found] == [
        (index, "truncated", f"image {index}") for index in (0, 3, 8, 11, 12, 14, 19)
    ]
    assert "3 must be good" in found[1].message


@pytest.mark.bad_input
def test_too_many_are_an_error(tmp_path: Path) -> None:
    forgiving = Forgiving(Numbered(20, bad=frozenset({3, 11})), tmp_path, 1)
    forgiving.read(3)
    assert len(forgiving.bad_images()) == 1
    with pytest.raises(ImageProblem, match="11 must be good"):
        forgiving.read(11)
    with pytest.raises(DataError, match=r"at most 1 bad images, got 2 .*(\n.*)*'image 11'"):
        forgiving.bad_images()
    assert len(Forgiving(forgiving.source, tmp_path, 2).bad_images()) == 2


@pytest.mark.bad_input
def test_a_damaged_note_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "3.json").write_text("{")
    with pytest.raises(DataError, match=r"3\.json' must be the note of a bad image"):
        Forgiving(Numbered(20), tmp_path, 1).bad_images()
