"""Groups of copies: all pairs are found, nothing else is, and few are compared for it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchwise.checkup import duplicates as module
from patchwise.checkup.duplicates import MOST_BITS, MOST_LEVELS, same_look, same_pixels, without

GREY = np.full((8, 8, 3), 100, np.uint8)


def greys(count: int) -> NDArray[np.uint8]:
    return np.broadcast_to(GREY, (count, 8, 8, 3))


def groups_of(bits: list[int], order: list[int] | None = None) -> list[list[int]]:
    values = np.array(bits, np.uint64)
    return same_look(values, greys(len(bits)), range(len(bits)) if order is None else order)


def test_equal_digests_are_groups_in_order() -> None:
    digests = [b"a", b"b", b"a", b"c", b"b", b"a"]
    assert same_pixels(digests) == [[0, 2, 5], [1, 4]]
    assert same_pixels([]) == same_pixels([b"a"]) == []


def test_the_number_of_bits_is_exact() -> None:
    for flips in (MOST_BITS, MOST_BITS + 1):
        for seed in range(50):
            rng = np.random.default_rng(seed)
            one = int(rng.integers(0, 2**64, dtype=np.uint64))
            places = rng.choice(64, flips, replace=False).tolist()
            other = one ^ sum(1 << place for place in places)
            assert groups_of([one, other]) == ([[0, 1]] if flips == MOST_BITS else [])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 80))
def test_groups_are_those_of_comparing_every_pair(seed: int, count: int) -> None:
    """The rule in plain loops: nearest image kept before, within both limits, else kept itself."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**64, 4, dtype=np.uint64)[rng.integers(0, 4, count)]
    for _ in range(4):
        flip = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        bits = bits ^ np.where(rng.random(count) < 0.5, flip, np.uint64(0))
    colours = rng.choice([100, 105, 112], (count, 1, 1, 1)).astype(np.uint8)
    colours = colours + rng.integers(0, 3, (count, 8, 8, 3), dtype=np.uint8)
    order = rng.permutation(count)
    kept: dict[int, list[int]] = {}
    for index in order.tolist():
        near = {index: MOST_LEVELS}  # to none: itself; if equally near, the one kept first
        for other in reversed(kept):
            far = float(np.sqrt(((colours[index] - colours[other].astype(float)) ** 2).mean()))
            close = (int(bits[index]) ^ int(bits[other])).bit_count() <= MOST_BITS
            if close and far <= MOST_LEVELS:
                near[other] = far
        best = min(reversed(near), key=lambda other: near[other])
        kept.setdefault(best, []).append(index)
    expected = [group for group in kept.values() if len(group) > 1]
    assert same_look(bits, colours, order) == expected


def test_colours_must_agree_too() -> None:
    bits = np.array([5, 5], np.uint64)
    for levels, found in [(MOST_LEVELS, [[0, 1]]), (MOST_LEVELS + 1, [])]:
        colours = np.stack([GREY, GREY + np.uint8(levels)])
        assert same_look(bits, colours, [0, 1]) == found


def test_the_first_in_order_is_kept_and_others_take_no_part() -> None:
    bits = [7, 7, 7, 255 << 50]
    assert groups_of(bits, [2, 0, 3]) == [[2, 0]]
    assert groups_of(bits, []) == []


def test_a_slow_change_is_not_one_group_from_end_to_end() -> None:
    """Every step of a video is small, its ends have nothing in common."""
    video = [(1 << frame) - 1 for frame in range(60)]
    groups = groups_of(video)
    assert len(groups) > 5
    for first, *rest in groups:
        assert all((video[first] ^ video[other]).bit_count() <= MOST_BITS for other in rest)


def test_no_two_that_are_kept_look_the_same() -> None:
    rng = np.random.default_rng(0)
    bits = (rng.integers(0, 2**12, 400).astype(np.uint64)).tolist()
    left = np.flatnonzero(without(400, groups_of(bits)))
    assert 1 < len(left) < 400
    apart = [(bits[a] ^ bits[b]).bit_count() for i, a in enumerate(left) for b in left[:i]]
    assert min(apart) > MOST_BITS


@pytest.mark.parametrize("kind", ["all different", "all the same"])
def test_few_images_are_compared_with_each(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: candidates met by 6,000 images; all pairs would be 18 million."""
    bits = np.random.default_rng(0).integers(0, 2**64, 6_000, dtype=np.uint64)
    if kind == "all the same":
        bits[:] = bits[0]
    met = 0
    compare = module._few_bits_apart

    def counting(some: NDArray[np.uint64], own: np.uint64) -> NDArray[np.bool_]:
        nonlocal met
        met += len(some)
        return compare(some, own)

    monkeypatch.setattr(module, "_few_bits_apart", counting)
    same_look(bits, greys(len(bits)), range(len(bits)))
    assert met < 40 * len(bits)


def test_what_is_left_is_all_but_the_rest_of_each_group() -> None:
    left = without(6, [[4, 1], [2, 3, 5]])
    assert np.flatnonzero(left).tolist() == [0, 2, 4]
    assert without(2, []).all()
