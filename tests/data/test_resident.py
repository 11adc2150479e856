"""Images that stay in memory: the batches are the plain stream's, and no image is read twice."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from patchwise.data.bad_images import BadImages
from patchwise.data.images import ResizeRule, collate
from patchwise.data.loader import BatchStream, LoadedBatch
from patchwise.data.resident import Packed, Residence, ResidentImages, resident_bytes
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import DataError
from patchwise.types import ImageBatch
from tests.data.numbered import Numbered

CPU = torch.device("cpu")
# Each image's next ones, a bad one of the tests among them.
NEAREST = np.array([[(i + step) % 23 for step in (1, 5, 7)] for i in range(23)])


def here() -> Residence:
    return Residence(CPU, 23 * 3 * 22 * 32)


@dataclass(frozen=True)
class Counted(Numbered):
    """Counts how often each image was read, in this process."""

    reads: Counter[int] = field(default_factory=Counter)

    def read(self, index: int) -> NDArray[np.uint8]:
        self.reads[index] += 1
        return super().read(index)


def noise(sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return [generator.integers(1, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def pack(images: list[NDArray[np.uint8]], ids: list[int]) -> Packed:
    """Pack images word by word, in plain loops."""
    words = []
    for image in images:
        for channel in range(3):
            for row in image[:, :, channel]:
                padded = list(row) + [0] * (-len(row) % 16)
                words += [padded[start : start + 16] for start in range(0, len(padded), 16)]
    sizes = np.array([image.shape[:2] for image in images])
    return Packed(torch.tensor(np.array(words)), np.array(ids), sizes, [])


def assert_equal_batches(left: ImageBatch | None, right: ImageBatch | None) -> None:
    if left is None or right is None:
        assert left is right
        return
    for name in ("pixels", "sizes", "ids"):
        one, other = getattr(left, name), getattr(right, name)
        assert torch.equal(one, other)
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())
    assert left.epoch == right.epoch


def assert_same(kept: Iterator[LoadedBatch], plain: Iterator[LoadedBatch]) -> None:
    for one, other in zip(kept, plain, strict=True):
        assert_equal_batches(one.images, other.images)
        assert_equal_batches(one.neighbours, other.neighbours)
        assert one.bad == other.bad


def assert_nothing_changes(stream: BatchStream, start: int, stop: int) -> None:
    """Compare with and without images in memory, from the same count of bad images on."""
    kept_bad, plain_bad = (BadImages("numbered") for _ in range(2))
    kept = replace(stream, residence=here()).batches(kept_bad, start_step=start, stop_step=stop)
    plain = replace(stream, workers=0).batches(plain_bad, start_step=start, stop_step=stop)
    assert_same(kept, plain)
    assert kept_bad.state() == plain_bad.state()


SIZES = [(4, 16), (5, 17), (9, 3), (1, 33), (16, 16), (7, 32)]


def test_a_batch_from_memory_is_that_of_collate() -> None:
    images = noise(SIZES)
    resident = ResidentImages(10, CPU, 0)
    resident.add(pack(images[:2], [7, 2]))
    resident.add(pack(images[2:], [0, 9, 4, 3]))
    place = dict(zip([7, 2, 0, 9, 4, 3], images, strict=True))
    for ids in ([7], [2, 0], [9, 9, 3], [3, 4, 9, 0, 2, 7]):
        expected = collate([place[i] for i in ids], ids, epoch=5)
        assert_equal_batches(resident.batch(ids, epoch=5), expected)
    assert [i in resident for i in range(10)] == [i in place for i in range(10)]


def test_room_is_made_when_more_was_not_expected() -> None:
    images = noise(SIZES)
    resident = ResidentImages(6, CPU, 64)
    for index, image in enumerate(images):
        resident.add(pack([image], [index]))
    words = sum(3 * high * -(-wide // 16) for high, wide in SIZES)
    assert resident.nbytes == 16 * words
    assert_equal_batches(resident.batch(range(6), epoch=0), collate(images, range(6), epoch=0))


def test_images_that_are_here_are_not_kept_again() -> None:
    images = noise(SIZES)
    resident = ResidentImages(10, CPU, 0)
    resident.add(pack(images[:3], [7, 2, 5]))
    resident.add(pack([images[3], images[2], images[4], images[0]], [0, 5, 9, 7]))
    place = dict(zip([7, 2, 5, 0, 9], images, strict=False))
    ids = [9, 0, 5, 2, 7]
    expected = collate([place[i] for i in ids], ids, epoch=1)
    assert_equal_batches(resident.batch(ids, epoch=1), expected)
    assert resident.nbytes == 16 * sum(3 * high * -(-wide // 16) for high, wide in SIZES[:5])


@pytest.mark.parametrize("workers", [0, 1])
def test_streams_of_one_source_keep_its_images_once(workers: int) -> None:
    source = Numbered(23, bad=frozenset({3, 4}))
    streams = [
        BatchStream(source, batch=5, seed=seed, workers=workers, neighbours=NEAREST)
        for seed in (1, 2)
    ]
    shared = here()
    kept = [
        replace(stream, residence=shared).batches(BadImages("numbered"), stop_step=20)
        for stream in streams
    ]
    plain = [
        replace(stream, workers=0).batches(BadImages("numbered"), stop_step=20)
        for stream in streams
    ]
    for in_turn, expected in zip(zip(*kept, strict=True), zip(*plain, strict=True), strict=True):
        assert_same(iter(in_turn), iter(expected))
    alone = here()
    list(replace(streams[0], residence=alone).batches(BadImages("numbered"), stop_step=20))
    assert shared.images(23).nbytes == alone.images(23).nbytes > 0


@pytest.mark.parametrize("bad", [(), (3,), (3, 4, 22, 0)])
@pytest.mark.parametrize("start", [0, 3, 8])
@pytest.mark.parametrize("neighbours", [None, NEAREST])
def test_batches_are_those_of_the_plain_stream(
    bad: tuple[int, ...], start: int, neighbours: NDArray[np.int64] | None
) -> None:
    source = Numbered(23, bad=frozenset(bad))
    for batch in (1, 5, 23):
        stream = BatchStream(source, batch=batch, seed=batch, neighbours=neighbours)
        assert_nothing_changes(stream, start, start + 5 * stream.steps_per_epoch)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    source = Numbered(23, bad=frozenset({3, 4, 8}))
    stream = BatchStream(source, batch=5, seed=1, workers=workers, neighbours=NEAREST)
    assert_nothing_changes(stream, 2, 31)


def test_a_process_of_several_has_its_part() -> None:
    stream = BatchStream(Numbered(23), batch=6, seed=1, rank=1, world_size=2)
    assert_nothing_changes(stream, 1, 60)


def test_images_are_kept_as_they_were_resized() -> None:
    rule = ResizeRule(base_px=17)
    assert_nothing_changes(BatchStream(Numbered(23), batch=5, seed=1, resize=rule), 0, 20)


@pytest.mark.parametrize("start", [0, 2])
def test_every_image_is_read_once(start: int) -> None:
    """Those that an epoch leaves over too: they are read alone, when they are wanted."""
    source = Counted(23)
    stream = BatchStream(source, batch=5, seed=1, residence=here())
    batches = stream.batches(BadImages("numbered"), start_step=start)
    list(islice(batches, 4))
    assert sum(source.reads.values()) <= 20
    list(islice(batches, 96))
    assert source.reads == Counter(range(23))


def test_neighbours_are_read_once_too() -> None:
    source = Counted(23)
    stream = BatchStream(source, batch=5, seed=1, residence=here(), neighbours=NEAREST)
    list(islice(stream.batches(BadImages("numbered")), 100))
    assert source.reads == Counter(range(23))


def test_what_stands_in_for_a_bad_image_is_read_once_more_at_most() -> None:
    source = Counted(23, bad=frozenset({3, 4}))
    stream = BatchStream(source, batch=5, seed=1, residence=here(), neighbours=NEAREST)
    list(islice(stream.batches(BadImages("numbered")), 100))
    assert source.reads[3] == source.reads[4] == 1
    assert sum(source.reads.values()) <= 23 + 4


def test_only_what_cannot_be_foreseen_is_read_by_this_process() -> None:
    source = Counted(23, bad=frozenset({3}))
    stream = BatchStream(source, batch=10, seed=1, workers=1, residence=here())
    list(islice(stream.batches(BadImages("numbered")), 50))
    assert sum(source.reads.values()) <= 1  # image 4 in place of 3


def test_workers_end_when_every_image_is_here() -> None:
    stream = BatchStream(Numbered(20), batch=5, seed=1, workers=2, residence=here())
    batches = stream.batches(BadImages("numbered"))
    list(islice(batches, 3))
    assert len(multiprocessing.active_children()) == 2
    list(islice(batches, 2))
    assert not multiprocessing.active_children()
    assert next(batches).images.epoch == 1


def test_workers_end_with_the_stream() -> None:
    stream = BatchStream(Numbered(20), batch=5, seed=1, workers=1, residence=here())
    batches = stream.batches(BadImages("numbered"))
    next(batches)
    batches.close()
    assert not multiprocessing.active_children()


@pytest.mark.bad_input
@pytest.mark.parametrize("neighbours", [None, NEAREST])
@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_bad_images_end_the_run_at_the_same_step(
    workers: int, neighbours: NDArray[np.int64] | None
) -> None:
    source = Numbered(23, bad=frozenset({3, 4, 9, 15}))
    stream = BatchStream(source, batch=5, seed=1, workers=workers, neighbours=neighbours)
    ends = []
    for residence in (None, here()):
        batches = replace(stream, residence=residence).batches(BadImages("numbered", tolerated=3))
        read: list[LoadedBatch] = []
        with pytest.raises(DataError, match="at most 3 bad images, got 4 so far"):
            read.extend(batches)
        ends.append(len(read))
    assert ends[0] == ends[1] > 0


@pytest.mark.bad_input
def test_a_long_row_of_bad_images_is_not_read_to_its_end() -> None:
    source = Counted(200, bad=frozenset(range(200)))
    stream = BatchStream(source, batch=50, seed=1, residence=here())
    with pytest.raises(DataError, match="at most 3 bad images, got 4 so far"):
        next(stream.batches(BadImages("numbered", tolerated=3)))
    assert sum(source.reads.values()) <= 8


@pytest.mark.bad_input
def test_a_source_of_bad_images_only_ends_the_run() -> None:
    stream = BatchStream(Numbered(6, bad=frozenset(range(6))), batch=5, seed=1, residence=here())
    with pytest.raises(DataError, match="must hold images that can be read, got none in 6; the fi"):
        next(stream.batches(BadImages("numbered")))


def held_bytes(source: ImageSource, rule: ResizeRule | None) -> int:
    """What the images of a source take, all of them read."""
    batch = min(len(source), 5)
    stream = BatchStream(source, batch=batch, seed=0, resize=rule)
    sizes = {
        int(index): size.tolist()
        for read in stream.batches(BadImages("x"), stop_step=60)
        for index, size in zip(read.images.ids, read.images.sizes, strict=True)
    }
    return sum(3 * high * 16 * -(-wide // 16) for high, wide in sizes.values())


def test_the_estimate_is_exact_for_images_of_one_size(tmp_path: Path) -> None:
    for index in range(8):
        Image.new("RGB", (60, 40)).save(tmp_path / f"{index}.png")
    source = open_source(tmp_path)
    for rule in (None, ResizeRule(base_px=20), ResizeRule(base_px=33, base="square")):
        assert resident_bytes(source, rule) == held_bytes(source, rule)
    assert resident_bytes(open_source("scenes:70"), None) == 70 * 3 * 64 * 64


def test_the_estimate_is_a_little_high_for_others() -> None:
    source = Numbered(200)
    needed = sum(3 * (16 + i % 7) * 32 for i in range(200))
    assert needed <= resident_bytes(source, None) <= 1.1 * needed


def test_the_estimate_reads_headers_not_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:60])
    (tmp_path / "empty.png").touch()
    assert resident_bytes(open_source(tmp_path), None) == 3 * 3 * 40 * 64  # as if the empty one too


@pytest.mark.bad_input
def test_no_readable_image_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert resident_bytes(open_source(tmp_path), None) == 0
