"""Vectors, in float16 or not, in memory and on the disk."""

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from patchwise.errors import DataError, RangeError
from patchwise.features.vectors import Vectors

VALUES = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("memory_bytes", [10**6, 0])
def test_what_is_read_is_what_was_written_in_float16(memory_bytes: int) -> None:
    with Vectors(50, 8, memory_bytes=memory_bytes) as kept:
        assert kept.on_disk == (memory_bytes == 0)
        for first, stop in [(20, 50), (0, 7), (7, 20)]:
            kept.write(first, VALUES[first:stop])
        assert torch.equal(kept.read(0, 50), VALUES.half().float())
        assert torch.equal(kept.read(13, 41), VALUES[13:41].half().float())
        assert kept.read(9, 9).shape == (0, 8)
        assert (len(kept), kept.shape) == (50, (50, 8))


@pytest.mark.parametrize("memory_bytes", [10**6, 0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finer_numbers_are_kept_as_they_are(memory_bytes: int, dtype: torch.dtype) -> None:
    values = torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    with Vectors(50, 8, memory_bytes=memory_bytes, dtype=dtype) as kept:
        kept.write(20, values[20:])
        kept.write(0, values[:20])
        read = kept.read(0, 50)
        assert torch.equal(read, values)
        kept.write(0, values[20:])
        assert torch.equal(read, values)  # it is a copy
        assert torch.equal(kept.read(7, 30), values[27:50])


def test_what_takes_just_the_memory_stays_in_it() -> None:
    for memory_bytes, on_disk in [(50 * 8 * 2, False), (50 * 8 * 2 - 1, True)]:
        with Vectors(50, 8, memory_bytes=memory_bytes) as kept:
            assert kept.on_disk == on_disk
        finer = 2 * memory_bytes + on_disk
        with Vectors(50, 8, memory_bytes=finer, dtype=torch.float32) as kept:
            assert kept.on_disk == on_disk


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Vectors(50, 8, memory_bytes=0) as kept:
        kept.write(0, VALUES)
        assert not os.listdir(tmp_path)  # it has no name, so that a kill leaves nothing either
    assert not os.listdir(tmp_path)


def test_blocks_do_not_depend_on_where_they_are_kept() -> None:
    with Vectors(5, 2**20, memory_bytes=0) as disk, Vectors(5, 2**20, memory_bytes=2**30) as held:
        assert disk.block == held.block == 16


@pytest.mark.bad_input
def test_too_full_a_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"must have 2.0 GiB free, got 1.0 in .*; set TMPDIR"):
        Vectors(2**20, 2**10, memory_bytes=2**20)


@pytest.mark.bad_input
@pytest.mark.parametrize("first", [-1, 1])
def test_there_is_no_writing_beyond_the_end(first: int) -> None:
    with Vectors(50, 8, memory_bytes=10**6) as kept, pytest.raises(RangeError, match="first must"):
        kept.write(first, VALUES)
