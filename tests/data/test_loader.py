"""The batches of a run: the same whatever reads them, wherever it starts."""

import itertools
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from patchwise.data.bad_images import BadImages
from patchwise.data.images import ResizeRule, centre_crop, resize_image
from patchwise.data.loader import BatchStream, LoadedBatch, iterate_images
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import DataError, RangeError, ShapeError
from patchwise.types import ImageBatch
from tests.data.conftest import SavePhotos
from tests.data.numbered import Numbered


def take(stream: BatchStream, start: int, stop: int, tolerated: int = 10) -> list[LoadedBatch]:
    bad_images = BadImages("numbered", tolerated=tolerated)
    return list(stream.batches(bad_images, start_step=start, stop_step=stop))


def assert_same(left: list[LoadedBatch], right: list[LoadedBatch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one.images.pixels, other.images.pixels)
        assert torch.equal(one.images.sizes, other.images.sizes)
        assert torch.equal(one.images.ids, other.images.ids)
        assert one.images.epoch == other.images.epoch
        assert one.bad == other.bad


def ids(batches: list[LoadedBatch]) -> list[int]:
    return [index for batch in batches for index in batch.images.ids.tolist()]


def test_a_batch_holds_the_images_of_its_ids() -> None:
    source = Numbered(23)
    for batch in take(BatchStream(source, batch=4, seed=1), 0, 12):
        for row, size, index in zip(
            *(getattr(batch.images, n) for n in ("pixels", "sizes", "ids")), strict=True
        ):
            image = source.read(int(index))
            assert size.tolist() == list(image.shape[:2])
            assert torch.equal(
                row[:, : size[0], : size[1]], torch.from_numpy(image).permute(2, 0, 1)
            )


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    stream = BatchStream(Numbered(20), batch=5, seed=1)
    assert stream.steps_per_epoch == 4
    epochs = [take(stream, 4 * e, 4 * e + 4) for e in range(3)]
    for number, epoch in enumerate(epochs):
        assert sorted(ids(epoch)) == list(range(20))
        assert [batch.images.epoch for batch in epoch] == [number] * 4
    assert len({tuple(ids(epoch)) for epoch in epochs}) == 3


def test_what_is_left_over_is_not_used_in_this_epoch() -> None:
    stream = BatchStream(Numbered(23), batch=5, seed=1)
    assert stream.steps_per_epoch == 4
    epochs = [ids(take(stream, 4 * e, 4 * e + 4)) for e in range(12)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert set().union(*epochs) == set(range(23))


def test_the_seed_decides_the_order() -> None:
    orders = [ids(take(BatchStream(Numbered(20), batch=5, seed=seed), 0, 4)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    stream = BatchStream(Numbered(23, bad=frozenset({3, 8})), batch=4, seed=1)
    assert_same(take(replace(stream, workers=workers), 2, 13), take(stream, 2, 13))


@pytest.fixture
def spawned() -> Iterator[None]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def test_spawned_workers_change_nothing(
    spawned: None, tmp_path: Path, save_photos: SavePhotos
) -> None:
    save_photos(tmp_path, [f"{i}.png" for i in range(6)])
    rule = ResizeRule(base_px=18)
    stream = BatchStream(open_source(tmp_path), batch=2, seed=1, resize=rule)
    assert_same(take(replace(stream, workers=1), 0, 4), take(stream, 0, 4))


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_goes_on_exactly_where_it_is_told(start: int, workers: int) -> None:
    stream = BatchStream(Numbered(23), batch=5, seed=1, workers=workers)
    assert_same(take(stream, start, 11), take(replace(stream, workers=0), 0, 11)[start:])


def test_a_stream_has_no_end_by_default() -> None:
    stream = BatchStream(Numbered(6), batch=5, seed=1)
    batches = itertools.islice(stream.batches(BadImages("numbered"), start_step=3), 40)
    assert [batch.images.epoch for batch in batches] == list(range(3, 43))


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_parts_of_all_processes_are_the_batch_of_one(world_size: int) -> None:
    stream = BatchStream(Numbered(25), batch=6, seed=1)
    parts = [replace(stream, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert all(part.steps_per_epoch == stream.steps_per_epoch for part in parts)
    read = [take(part, 0, 9) for part in parts]
    for step, whole in enumerate(take(stream, 0, 9)):
        joined = [index for batches in read for index in batches[step].images.ids.tolist()]
        assert joined == whole.images.ids.tolist()
        assert all(len(batches[step].images) == 6 // world_size for batches in read)
        assert {batches[step].images.epoch for batches in read} == {whole.images.epoch}


def test_indices_tell_what_a_step_reads() -> None:
    stream = BatchStream(Numbered(23), batch=6, seed=1, rank=1, world_size=2)
    for step, batch in enumerate(take(stream, 0, 8)):
        assert stream.indices(step).tolist() == batch.images.ids.tolist()


def test_images_are_resized() -> None:
    source, rule = Numbered(20), ResizeRule(base="square", base_px=17)
    for batch in take(BatchStream(source, batch=4, seed=1, resize=rule), 0, 5):
        for row, index in zip(batch.images.pixels, batch.images.ids.tolist(), strict=True):
            expected = resize_image(source.read(index), rule)
            assert torch.equal(row, torch.from_numpy(expected).permute(2, 0, 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_state_is_left_alone(workers: int) -> None:
    before = torch.get_rng_state()
    take(BatchStream(Numbered(20), batch=4, seed=1, workers=workers), 0, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bad_image_is_replaced_by_the_next_good_one() -> None:
    good = BatchStream(Numbered(20), batch=5, seed=1)
    bad = BatchStream(Numbered(20, bad=frozenset({18, 19, 7})), batch=5, seed=1)
    replaced = {18: 0, 19: 0, 7: 8}
    for step, batch in enumerate(take(bad, 0, 12)):
        wanted = good.indices(step).tolist()
        assert batch.images.ids.tolist() == [replaced.get(index, index) for index in wanted]
        for row, index in zip(batch.images.pixels, batch.images.ids.tolist(), strict=True):
            assert int(row[0, 0, 0]) == index


def test_bad_images_are_reported_once_and_counted() -> None:
    stream = BatchStream(Numbered(20, bad=frozenset({18, 7})), batch=5, seed=1)
    bad_images = BadImages("numbered")
    batches = list(stream.batches(bad_images, stop_step=8))
    reported = [bad for batch in batches for bad in batch.bad]
    assert sorted(bad.index for bad in reported) == [7, 18]
    assert len(bad_images) == 2
    assert bad_images.counts == {"truncated": 2}
    assert {bad.description for bad in reported} == {"image 7", "image 18"}
    assert "Numbered: 7 must be good" in {bad.index: bad.message for bad in reported}[7]


@pytest.fixture
def source_with_strips(tmp_path: Path, save_photos: SavePhotos) -> ImageSource:
    """Six images, of which 2 and 4 are strips as long as would pad a batch to 3000 x 3000."""
    paths = save_photos(tmp_path, [f"{i}.png" for i in range(6)])
    Image.new("RGB", (3000, 20)).save(paths[2])
    Image.new("RGB", (20, 3000)).save(paths[4])
    return open_source(tmp_path)


@pytest.mark.bad_input
def test_elongated_images_are_replaced_and_counted(source_with_strips: ImageSource) -> None:
    stream = BatchStream(source_with_strips, batch=6, seed=1)
    bad_images = BadImages("strips", tolerated=2)
    (batch,) = stream.batches(bad_images, stop_step=1)
    assert sorted(batch.images.ids.tolist()) == [0, 1, 3, 3, 5, 5]
    assert batch.images.pixels.shape[2:] == (23, 26)
    assert bad_images.counts == {"elongated": 2}
    with pytest.raises(DataError, match=r"got 2 so far \(2 elongated\)"):
        take(stream, 0, 1, tolerated=1)


@pytest.mark.bad_input
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("tolerated", [0, 3])
def test_too_many_bad_images_end_the_run(workers: int, tolerated: int) -> None:
    broken = frozenset(range(0, 20, 5))
    stream = BatchStream(Numbered(20, bad=broken), batch=5, seed=1, workers=workers)
    assert len(take(stream, 0, 8, tolerated=4)) == 8
    with pytest.raises(
        DataError, match=rf"at most {tolerated} bad images, got .* so far"
    ) as caught:
        take(stream, 0, 8, tolerated=tolerated)
    assert str(caught.value).count("truncated: 'image ") == tolerated + 1


@pytest.mark.bad_input
def test_workers_end_with_the_stream() -> None:
    stream = BatchStream(Numbered(20, bad=frozenset({3})), batch=5, seed=1, workers=2)
    with pytest.raises(DataError, match="at most 0 bad images") as caught:
        take(stream, 0, 8, tolerated=0)
    assert not multiprocessing.active_children()  # although the error is still held
    assert caught.value.__traceback__ is not None
    batches = stream.batches(BadImages("numbered"))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()


@pytest.mark.bad_input
def test_a_source_of_bad_images_only_ends_the_run() -> None:
    stream = BatchStream(Numbered(6, bad=frozenset(range(6))), batch=5, seed=1)
    with pytest.raises(DataError, match="must hold images that can be read, got none in 6; the fi"):
        take(stream, 0, 1)


@pytest.mark.bad_input
def test_a_long_row_of_bad_images_is_not_read_to_its_end() -> None:
    """Millions of bad files must not delay the error."""
    read = []

    class Counting(Numbered):
        def read(self, index: int) -> NDArray[np.uint8]:
            read.append(index)
            return super().read(index)

    stream = BatchStream(Counting(200, bad=frozenset(range(200))), batch=5, seed=1)
    with pytest.raises(DataError, match="at most 3 bad images, got 4 so far"):
        take(stream, 0, 1, tolerated=3)
    assert len(read) == 4


def test_what_was_found_before_an_interruption_counts_on() -> None:
    stream = BatchStream(Numbered(20, bad=frozenset({18, 7, 3})), batch=5, seed=1)
    first = BadImages("numbered", tolerated=3)
    list(stream.batches(first, stop_step=4))
    resumed = BadImages("numbered", tolerated=3)
    resumed.restore(first.state())
    assert all(not b.bad for b in stream.batches(resumed, start_step=4, stop_step=12))


def test_every_image_comes_with_one_of_its_neighbours() -> None:
    nearest = np.array([[(i + step) % 12 for step in (3, 5, 7)] for i in range(12)])
    stream = BatchStream(Numbered(12), batch=4, seed=1, neighbours=nearest)
    met: dict[int, list[int]] = {i: [] for i in range(12)}
    for batch in take(stream, 0, 3 * 300):
        assert batch.neighbours is not None
        assert batch.neighbours.epoch == batch.images.epoch
        assert torch.equal(batch.neighbours.pixels[:, 0, 0, 0], batch.neighbours.ids)
        for image, neighbour in zip(
            batch.images.ids.tolist(), batch.neighbours.ids.tolist(), strict=True
        ):
            met[image].append(neighbour)
    for image, found in met.items():
        counts = [found.count(neighbour) for neighbour in nearest[image]]
        assert sum(counts) == 300
        assert min(counts) > 60  # all alike: 100 each, with a standard deviation of 8


@pytest.mark.parametrize(("workers", "world_size"), [(1, 1), (0, 2)])
def test_neighbours_depend_on_the_image_and_the_epoch_alone(workers: int, world_size: int) -> None:
    nearest = np.array([[(i + step) % 12 for step in (3, 5, 7)] for i in range(12)])
    whole = BatchStream(Numbered(12), batch=4, seed=1, neighbours=nearest)
    expected = take(whole, 2, 6)
    parts = [
        take(replace(whole, workers=workers, rank=rank, world_size=world_size), 2, 6)
        for rank in range(world_size)
    ]
    for step, batch in enumerate(expected):
        found = [part[step].neighbours for part in parts]
        assert batch.neighbours is not None
        assert batch.neighbours.ids.tolist() == [
            i for part in found if part is not None for i in part.ids.tolist()
        ]


def test_images_come_alone_without_neighbours() -> None:
    assert take(BatchStream(Numbered(4), batch=2, seed=1), 0, 1)[0].neighbours is None


def test_a_bad_neighbour_is_replaced_by_another_and_at_last_by_the_image() -> None:
    nearest = np.array([[8, 1], [8, 9], *([0, 1] for _ in range(2, 10))])
    stream = BatchStream(Numbered(10, bad=frozenset({8, 9})), batch=10, seed=1, neighbours=nearest)
    for batch in take(stream, 0, 8):
        assert batch.neighbours is not None
        pairs = zip(batch.images.ids.tolist(), batch.neighbours.ids.tolist(), strict=True)
        assert all(neighbour == {0: 1, 1: 1}[image] for image, neighbour in pairs if image < 2)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("neighbours", "message"),
    [
        ([[1], [0]], r"a row of at least one for each of the 3 images, got \(2, 1\)"),
        ([[], [], []], r"a row of at least one for each of the 3 images, got \(3, 0\)"),
        ([[1], [3], [0]], r"highest_neighbour must lie in \[0, 2\], got 3"),
        ([[1], [1], [0]], r"no image must be its own neighbour, got image 1 among those of itself"),
    ],
)
def test_neighbours_are_checked(neighbours: list[list[int]], message: str) -> None:
    table = np.array(neighbours, dtype=np.int64).reshape(len(neighbours), -1)
    with pytest.raises((ShapeError, RangeError, DataError), match=message):
        BatchStream(Numbered(3), batch=2, seed=1, neighbours=table)


@pytest.mark.bad_input
def test_too_few_images_for_a_batch_is_an_error() -> None:
    assert len(take(BatchStream(Numbered(8), batch=8, seed=1), 0, 2)) == 2
    with pytest.raises(DataError) as caught:
        BatchStream(Numbered(7), batch=8, seed=1)
    assert str(caught.value) == (
        "BatchStream: 'numbered' must hold at least one batch of images, got 7 images and "
        "batch 8; lower train.batch to at most 7 or add images"
    )


@pytest.mark.bad_input
def test_a_batch_must_be_shared_out_evenly() -> None:
    with pytest.raises(DataError, match="batch must be a multiple of the number of processes, got"):
        BatchStream(Numbered(20), batch=5, seed=1, world_size=2)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "batch must be positive, got 0"),
        ({"world_size": 0}, "world_size must be positive, got 0"),
        ({"rank": 2, "world_size": 2}, r"rank must lie in \[0, 1\], got 2"),
        ({"workers": -1}, r"workers must lie in \[0, 1024\], got -1"),
    ],
)
def test_settings_are_checked(settings: dict[str, int], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        replace(BatchStream(Numbered(20), batch=4, seed=1), **settings)  # type: ignore[arg-type]


@pytest.mark.bad_input
def test_a_stream_starts_at_step_0_or_later() -> None:
    with pytest.raises(RangeError, match="start_step must lie in"):
        take(BatchStream(Numbered(20), batch=4, seed=1), -1, 3)


@dataclass(frozen=True)
class Cut:
    """A fit that workers can be sent."""

    side_px: int

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return centre_crop(image, resize_px=self.side_px, crop_px=self.side_px)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_shows_what_is_asked_for_in_order(workers: int) -> None:
    source = Numbered(23)
    jobs = [np.array(ids) for ids in ([3, 1, 20], [22], [0, 2])]
    batches = list(iterate_images(source, jobs, Cut(20), workers=workers))
    assert [batch.ids.tolist() for batch in batches] == [ids.tolist() for ids in jobs]
    for batch in batches:
        assert batch.pixels.shape[1:] == (3, 20, 20)
        assert (batch.sizes == 20).all()
        for row, index in zip(batch.pixels, batch.ids.tolist(), strict=True):
            expected = Cut(20)(source.read(index))
            np.testing.assert_array_equal(row.permute(1, 2, 0), expected)


@pytest.mark.bad_input
@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_never_leaves_out_a_bad_image(workers: int) -> None:
    source = Numbered(9, bad=frozenset({6}))
    passing = iterate_images(source, np.arange(8).reshape(2, 4), Cut(16), workers=workers)
    assert isinstance(next(passing), ImageBatch)
    with pytest.raises(DataError) as caught:
        next(passing)
    assert str(caught.value) == (
        "iterate_images: every image of 'numbered' must be readable, got image 6 of 9: "
        "Numbered: 6 must be good, got bad"
    )


@pytest.mark.bad_input
def test_a_pass_ends_at_an_elongated_image(source_with_strips: ImageSource) -> None:
    passing = iterate_images(source_with_strips, np.arange(6).reshape(3, 2), Cut(16))
    next(passing)
    with pytest.raises(DataError, match=r"got image 2 of 6: .* at most 8 times .* 20 x 3000"):
        next(passing)


@pytest.mark.bad_input
def test_the_workers_of_a_pass_are_counted() -> None:
    with pytest.raises(
        RangeError, match=r"iterate_images: workers must lie in \[0, 1024\], got -1"
    ):
        next(iterate_images(Numbered(9), [np.arange(2)], Cut(16), workers=-1))
