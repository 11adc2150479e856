"""Pickles of others: their data are read, and nothing that they name is called."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from patchwise.data.plain_pickle import read_plain_pickle
from patchwise.errors import DataError
from tests.data.python2 import Name, call, pickled

CONTENT = {
    b"data": np.arange(24, dtype=np.uint8).reshape(2, 12),
    b"wide": np.arange(3, dtype=">i4"),
    b"labels": [3, 0, -1],
    b"names": ["cat", b"dog", (None, True, False)],
}


def save(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "batch"
    path.write_bytes(content)
    return path


def test_numbers_text_and_arrays_are_read_as_by_the_ordinary_unpickler(tmp_path: Path) -> None:
    raw = pickled(CONTENT)
    read = read_plain_pickle(save(tmp_path, raw), caller="test")
    ordinary = pickle.loads(raw, encoding="bytes")
    assert isinstance(read, dict)
    assert read.keys() == CONTENT.keys() == ordinary.keys()
    for key in (b"data", b"wide"):
        np.testing.assert_array_equal(read[key], CONTENT[key])
        np.testing.assert_array_equal(ordinary[key], CONTENT[key])
        assert read[key].dtype == ordinary[key].dtype
    assert read[b"labels"] == [3, 0, -1]
    assert read[b"names"] == [b"cat", b"dog", (None, True, False)]


class Harm:
    """What an unpickler would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.bad_input
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_else_is_called(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "harm"
    path = save(tmp_path, pickle.dumps(Harm(mark), protocol))
    with pytest.raises(DataError, match=r"test: '.*batch' must be a pickle of numb.*posix.mkdir"):
        read_plain_pickle(path, caller="test")
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()


EMPTY = "numpy.core.multiarray._reconstruct"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "body",
    [
        call("builtins.eval", "1"),
        call("numpy.ndarray", (10**6, 10**6)),
        call("numpy.load", "x"),
        call("numpy.core.multiarray.array", [1]),
        call(EMPTY, Name("numpy.ndarray"), (2**30, 2**30), b"b"),
        call(EMPTY, Name("numpy.dtype"), (0,), b"b"),
        call("numpy.dtype", "O"),
        call("numpy.dtype", "S9"),
        call("numpy.dtype", "u1,u1"),
        b"",
    ],
)
def test_other_names_arrays_and_damage_are_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DataError, match="must be a pickle of numbers, text and arrays alone, got"):
        read_plain_pickle(save(tmp_path, b"\x80\x02" + body + b"."), caller="test")


@pytest.mark.bad_input
def test_what_stands_in_cannot_be_changed(tmp_path: Path) -> None:
    """A pickle may set the attributes of what it names."""
    for name in (EMPTY, "numpy.dtype", "numpy.ndarray"):
        module, _, last = name.rpartition(".")
        changed = f"c{module}\n{last}\n".encode() + b"}(U\x01aK\x01ub"
        with pytest.raises(DataError, match="must be a pickle of numbers"):
            read_plain_pickle(save(tmp_path, b"\x80\x02" + changed + b"."), caller="test")


def test_types_of_numpy_itself_stay_as_they_are(tmp_path: Path) -> None:
    """The state of a type is set on a copy."""
    before = (np.dtype("i4").str, np.dtype("u1").str)
    read_plain_pickle(save(tmp_path, pickled(CONTENT)), caller="test")
    assert (np.dtype("i4").str, np.dtype("u1").str) == before


@pytest.mark.bad_input
def test_a_missing_file_and_half_a_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"batch' must be .*FileNotFoundError"):
        read_plain_pickle(tmp_path / "batch", caller="test")
    raw = pickled(CONTENT)
    for length in (1, 10, len(raw) // 2, len(raw) - 1):
        with pytest.raises(DataError, match=r"batch' must be a pickle"):
            read_plain_pickle(save(tmp_path, raw[:length]), caller="test")
