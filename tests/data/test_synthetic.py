"""What the synthetic scenes must be, whatever they show."""

import hashlib
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray

from patchwise.data.synthetic import (
    CATEGORIES,
    SceneBatch,
    Scenes,
    render_scenes,
    shuffle_patches,
)
from patchwise.errors import RangeError, ShapeError

MANY = render_scenes(np.arange(400))


def digest(scenes: SceneBatch) -> str:
    parts = (np.ascontiguousarray(getattr(scenes, field.name)) for field in fields(scenes))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def same(one: SceneBatch, other: SceneBatch) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def taken(scenes: SceneBatch, rows: list[int]) -> SceneBatch:
    return SceneBatch(*(getattr(scenes, field.name)[rows] for field in fields(scenes)))


def object_patches(scenes: SceneBatch) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the majority category of each 8-px patch, and where more than half of it is one."""
    count, side, _ = scenes.semantic.shape
    grid = side // 8
    cells = scenes.semantic.reshape(count, grid, 8, grid, 8).swapaxes(2, 3).reshape(-1, 64)
    shares = np.stack([(cells == k).sum(axis=1) for k in range(len(CATEGORIES) + 1)], axis=1)
    category = shares.argmax(axis=1)
    return category, (category > 0) & (shares.max(axis=1) > 32)


@pytest.mark.parametrize(
    ("size_px", "seed", "expected"),
    [
        (64, 0, "3b76253d827f998b31ba9271c1cbcb96eb8bd2962eaedf6b201df19cc590d46e"),
        (96, 0, "67d274aa25c94a358c4a615f9036efae2f94b7021e5d3483544cf9579b682e28"),
        (128, 5, "fa91c924c0d2f34413672893b020698ee711ecefa35c3980e396c8c874b4033e"),
    ],
)
def test_the_bytes_never_change(size_px: int, seed: int, expected: str) -> None:
    ids = np.array([0, 1, 2, 77, 10**12, -3])
    assert digest(render_scenes(ids, size_px=size_px, seed=seed)) == expected


@pytest.mark.parametrize("size_px", [64, 65, 96, 128])
def test_a_scene_does_not_depend_on_the_others_of_its_batch(size_px: int) -> None:
    ids = np.arange(70)
    together = render_scenes(ids, size_px=size_px, seed=3)
    for rows in ([0], [69, 3, 3, 40], [31, 32, 33]):
        assert same(render_scenes(ids[rows], size_px=size_px, seed=3), taken(together, rows))


@pytest.mark.parametrize("size_px", [64, 65, 96, 128])
def test_shapes_and_types(size_px: int) -> None:
    scenes = render_scenes(np.arange(5), size_px=size_px)
    assert len(scenes) == 5
    assert scenes.images.shape == (5, size_px, size_px, 3)
    assert scenes.semantic.shape == scenes.instance.shape == (5, size_px, size_px)
    assert {getattr(scenes, field.name).dtype for field in fields(scenes)} == {np.dtype(np.uint8)}


def test_no_scenes_are_no_scenes() -> None:
    scenes = render_scenes(np.array([], dtype=np.int64), size_px=96)
    assert scenes.images.shape == (0, 96, 96, 3)


def test_scenes_differ_by_id_and_by_seed() -> None:
    seen = {image.tobytes() for image in MANY.images}
    assert len(seen) == len(MANY)
    assert not same(render_scenes(np.arange(4), seed=1), taken(MANY, [0, 1, 2, 3]))


def test_a_scene_shows_the_same_at_every_size() -> None:
    small, large = (render_scenes(np.arange(20), size_px=size) for size in (64, 128))
    agree = (large.semantic[:, ::2, ::2] == small.semantic).mean()
    assert agree > 0.95


def test_masks_agree() -> None:
    assert np.array_equal(MANY.semantic == 0, MANY.instance == 0)
    assert MANY.semantic.max() == len(CATEGORIES)
    for semantic, instance in zip(MANY.semantic, MANY.instance, strict=True):
        for number in np.unique(instance):
            assert len(np.unique(semantic[instance == number])) == 1


def test_masks_are_exact() -> None:
    """Within an object the brightness follows its own texture, so edges of masks are edges."""
    grey = MANY.images.astype(np.float64).mean(axis=3)
    step = np.abs(np.diff(grey, axis=2))
    border = np.diff(MANY.instance.astype(np.int64), axis=2) != 0
    beside = np.roll(border, 2, axis=2) & ~border
    assert step[border].mean() > 1.5 * step[beside].mean()


def test_scenes_hold_several_large_objects() -> None:
    count = np.array([len(np.unique(instance)) - 1 for instance in MANY.instance])
    assert count.min() >= 1
    assert count.max() == 4
    assert 2.5 < count.mean() < 3.1
    areas = [
        (instance == number).sum()
        for instance in MANY.instance
        for number in range(1, 5)
        if (instance == number).any()
    ]
    assert np.median(areas) > 6 * 64  # patches of 8 px
    assert 0.3 < (MANY.semantic > 0).mean() < 0.5


def test_objects_hide_each_other() -> None:
    touching = (np.diff(MANY.instance.astype(np.int64), axis=2) != 0) & (
        MANY.instance[:, :, 1:] * MANY.instance[:, :, :-1] > 0
    )
    assert 0.2 < touching.any(axis=(1, 2)).mean() < 0.95


def test_each_category_is_about_as_frequent() -> None:
    scenes = render_scenes(np.arange(2000))
    pairs = scenes.instance.astype(np.int64) * 16 + scenes.semantic
    shown = [np.unique(pair) % 16 for pair in pairs]
    count = np.bincount(np.concatenate(shown), minlength=len(CATEGORIES) + 1)[1:]
    assert count.max() < 1.4 * count.min()


def neighbour_accuracy(features: NDArray[np.float64], nearest: int = 10) -> float:
    """Return how often the nearest patches of other scenes tell a patch's category."""
    category, use = object_patches(MANY)
    scene = np.arange(len(MANY)).repeat(64)
    memory, query = use & (scene < 300), use & (scene >= 300)
    squares = (features**2).sum(axis=1)
    distance = squares[memory] - 2 * features[query] @ features[memory].T
    near = category[memory][np.argpartition(distance, nearest, axis=1)[:, :nearest]]
    votes = np.stack([(near == k).sum(axis=1) for k in range(len(CATEGORIES) + 1)], axis=1)
    return float((votes.argmax(axis=1) == category[query]).mean())


def test_colour_alone_does_not_tell_the_category() -> None:
    patches = MANY.images.reshape(400, 8, 8, 8, 8, 3).swapaxes(2, 3).reshape(-1, 64, 3)
    assert neighbour_accuracy(patches.mean(axis=1)) < 0.18


@pytest.mark.parametrize("patch_px", [8, 16, 32])
def test_shuffling_moves_whole_patches_with_their_masks(patch_px: int) -> None:
    scenes = taken(MANY, list(range(30)))
    shuffled = shuffle_patches(scenes, patch_px=patch_px, seed=1, ids=np.arange(30))

    def patches(batch: SceneBatch) -> NDArray[np.uint8]:
        masks = np.stack([batch.semantic, batch.instance], axis=3)
        pixels = np.concatenate([batch.images, masks], axis=3)
        grid = 64 // patch_px
        cut = pixels.reshape(30, grid, patch_px, grid, patch_px, 5).swapaxes(2, 3)
        return cut.reshape(30, grid * grid, -1)

    moved = 0
    for before, after in zip(patches(scenes), patches(shuffled), strict=True):
        assert sorted(p.tobytes() for p in before) == sorted(p.tobytes() for p in after)
        moved += int((before != after).any(axis=1).sum())
    assert moved > 0.6 * 30 * (64 // patch_px) ** 2
    assert shuffled.images.shape == scenes.images.shape


def test_shuffling_depends_on_id_and_seed_alone() -> None:
    scenes, ids = taken(MANY, list(range(12))), np.arange(12)
    shuffled = shuffle_patches(scenes, patch_px=8, seed=1, ids=ids)
    alone = shuffle_patches(taken(scenes, [7]), patch_px=8, seed=1, ids=ids[[7]])
    assert same(alone, taken(shuffled, [7]))
    assert not same(shuffled, shuffle_patches(scenes, patch_px=8, seed=2, ids=ids))
    assert not same(shuffled, shuffle_patches(scenes, patch_px=8, seed=1, ids=ids + 1))
    twice = taken(scenes, [3, 3])
    two = shuffle_patches(twice, patch_px=8, seed=1, ids=np.array([3, 4]))
    assert not np.array_equal(two.images[0], two.images[1])


def test_shuffling_by_the_whole_image_changes_nothing() -> None:
    scenes = taken(MANY, [0, 1])
    assert same(shuffle_patches(scenes, patch_px=64, seed=0, ids=np.arange(2)), scenes)


@pytest.mark.parametrize("cache_bytes", [1 << 28, 0])
def test_a_source_reads_the_scenes_one_at_a_time(
    cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchwise.data.synthetic._CACHE_BYTES", cache_bytes)
    source = Scenes(70)
    assert len(source) == 70
    for index in (69, 0, 32, 31, 69):
        assert np.array_equal(source.read(index), MANY.images[index])
    assert same(source.scenes(np.array([5, 2])), taken(MANY, [5, 2]))


def test_writing_into_an_image_does_not_change_the_source() -> None:
    source = Scenes(3)
    source.read(1)[:] = 0
    assert np.array_equal(source.read(1), MANY.images[1])


def test_a_source_hands_its_settings_on() -> None:
    source = Scenes(5, size_px=96, seed=4)
    expected = render_scenes(np.arange(5), size_px=96, seed=4)
    assert np.array_equal(source.read(4), expected.images[4])
    assert same(source.scenes(np.arange(5)), expected)
    assert source.name == "scenes:5"
    assert source.describe(17) == "scene 17"


def test_a_fingerprint_tells_sources_apart() -> None:
    sources = [Scenes(5), Scenes(6), Scenes(5, size_px=65), Scenes(5, seed=1)]
    prints = [source.fingerprint() for source in sources]
    assert len(set(prints)) == 4
    assert prints[0] == Scenes(5).fingerprint()
    assert int(prints[0], 16) >= 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: render_scenes(np.arange(2), size_px=32),
            RangeError,
            "render_scenes: size_px must lie in [64, 128], got 32",
        ),
        (
            lambda: render_scenes(np.zeros((2, 2), dtype=np.int64)),
            ShapeError,
            "render_scenes: ids must be a list of whole numbers, got int64 (2, 2)",
        ),
        (
            lambda: render_scenes(np.zeros(3)),
            ShapeError,
            "render_scenes: ids must be a list of whole numbers, got float64 (3,)",
        ),
        (
            lambda: shuffle_patches(MANY, patch_px=7, seed=0, ids=np.arange(400)),
            RangeError,
            "shuffle_patches: patch_px must divide the scenes' side of 64, got 7",
        ),
        (
            lambda: shuffle_patches(MANY, patch_px=0, seed=0, ids=np.arange(400)),
            RangeError,
            "shuffle_patches: patch_px must be positive, got 0",
        ),
        (
            lambda: shuffle_patches(MANY, patch_px=8, seed=0, ids=np.arange(3)),
            ShapeError,
            "shuffle_patches: ids must have one entry for each of the 400 scenes, got 3",
        ),
        (lambda: Scenes(0), RangeError, "Scenes: count must be positive, got 0"),
        (
            lambda: Scenes(2, size_px=200),
            RangeError,
            "Scenes: size_px must lie in [64, 128], got 200",
        ),
        (
            lambda: Scenes(2).read(2),
            RangeError,
            "Scenes.read: index must lie in [0, 1], got 2",
        ),
        (
            lambda: Scenes(2).read(-1),
            RangeError,
            "Scenes.read: index must lie in [0, 1], got -1",
        ),
        (
            lambda: Scenes(2).scenes(np.array([0, 2])),
            RangeError,
            "Scenes.scenes: highest_id must lie in [0, 1], got 2",
        ),
        (
            lambda: Scenes(2).scenes(np.array([-1])),
            RangeError,
            "Scenes.scenes: lowest_id must lie in [0, 1], got -1",
        ),
        (
            lambda: Scenes(2).scenes(np.array([[1]])),
            ShapeError,
            "Scenes.scenes: ids must be a list of whole numbers, got int64 (1, 1)",
        ),
    ],
)
def test_bad_arguments(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
