"""The file of neighbours: the same comes back, and nothing else ever does."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from patchwise.data.bad_images import BadImage
from patchwise.index.kept import Neighbours, read_neighbours, write_neighbours

FOUND = Neighbours(
    np.array([[1, 2], [2, 0], [0, 1]]),
    np.array([[0.9, 0.5], [0.25, 0.125], [np.nan, np.nan]], np.float32),
    (BadImage(2, "däs/2.jpg", "truncated", "cut short"),),
    lacking=1,
    recall=0.75,
)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    for number, found in enumerate((FOUND, Neighbours(FOUND.ids, FOUND.cosines))):
        path = tmp_path / f"{number}.safetensors"
        write_neighbours(found, path, found_by="by this")
        read = read_neighbours(path, found_by="by this")
        assert np.array_equal(read.ids, found.ids)
        assert read.ids.dtype == np.int64
        assert np.array_equal(read.cosines, found.cosines, equal_nan=True)
        assert (read.bad, read.lacking, read.recall) == (found.bad, found.lacking, found.recall)
        assert len(read) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_found_by_something_else_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    write_neighbours(FOUND, path, found_by="by this")
    with pytest.raises(ValueError, match="found by something else"):
        read_neighbours(path, found_by="by that")


def test_no_changed_byte_goes_unseen(tmp_path: Path) -> None:
    """Every third byte of the file in turn: it is refused, or what is read is the same."""
    path = tmp_path / "n.safetensors"
    write_neighbours(FOUND, path, found_by="by this")
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            read = read_neighbours(path, found_by="by this")
        except (ValueError, OSError):
            refused += 1
            continue
        assert np.array_equal(read.ids, FOUND.ids)
        assert np.array_equal(read.cosines, FOUND.cosines, equal_nan=True)
    assert refused > 0.5 * len(whole) / 3


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "n.safetensors"
    write_neighbours(FOUND, path, found_by="by this")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="damaged"):
        read_neighbours(path, found_by="by this")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    safetensors.numpy.save_file({"ids": FOUND.ids}, path)
    with pytest.raises(ValueError, match="damaged"):
        read_neighbours(path, found_by="by this")
    with pytest.raises(OSError, match="nowhere"):
        read_neighbours(tmp_path / "nowhere", found_by="by this")
