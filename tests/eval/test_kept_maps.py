"""Maps in memory and on the disk: the same, and what they take."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchwise.eval.kept_maps import KeptMaps, Room

DRAW = torch.Generator().manual_seed(0)
MAPS = torch.randn(5, 4, 2, 3, generator=DRAW)
BYTES = 5 * 4 * 2 * 3 * 4


def keep(room: Room, maps: Tensor = MAPS) -> KeptMaps:
    return KeptMaps(iter(torch.split(maps, [2, 2, 1])), count=5, room=room)


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_read_is_what_was_written(memory_bytes: int, dtype: torch.dtype) -> None:
    with Room(memory_bytes) as room:
        kept = keep(room, MAPS.to(dtype))
        assert kept.on_disk == (memory_bytes == 0)
        assert kept.count == 5
        for first, stop in [(0, 5), (1, 4), (4, 5)]:
            part = kept.read(first, stop)
            assert part.dtype == dtype
            assert torch.equal(part, MAPS[first:stop].to(dtype))
        kept.write(3, MAPS[:2].to(dtype).requires_grad_())
        changed = torch.cat([MAPS[:3], MAPS[:2]]).to(dtype)
        assert torch.equal(kept.read(0, 5), changed)
        assert not kept.read(0, 5).requires_grad


def test_each_is_kept_where_there_is_room_and_gives_it_back() -> None:
    with Room(2 * BYTES) as room:
        first = keep(room)
        second, third = first.beside([MAPS]), first.beside([MAPS[:, :1]])
        assert [kept.on_disk for kept in (first, second, third)] == [False, False, True]
        assert room.left_bytes == 0
        first.free()
        assert room.left_bytes == BYTES
        third.free()
        assert room.left_bytes == BYTES
        assert not keep(room).on_disk
    with Room(BYTES - 1) as room:
        assert keep(room).on_disk


@pytest.mark.parametrize("failed", [False, True])
def test_nothing_is_left_open(
    failed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    try:
        with Room(0) as room:
            kept += [keep(room), keep(room)]
            kept[0].free()
            assert len(os.listdir("/proc/self/fd")) == before + 1
            if failed:
                raise InterruptedError
    except InterruptedError:
        pass
    assert len(os.listdir("/proc/self/fd")) == before
    assert not os.listdir(tmp_path)


def test_maps_are_laid_out_as_features_are() -> None:
    """Channels last, as convolutions of features have them."""
    with Room(10**6) as room:
        assert keep(room).read(0, 5).is_contiguous(memory_format=torch.channels_last)
