"""Draws are pure functions of their keys, look random, and are the same on every platform."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from patchwise.randomness import random_bits, random_order, random_seed, random_uniform

WORD = 2**64
EXTREME = [0, 1, -1, 2**31, 2**63 - 1, -(2**63)]


def plain_mix(word: int) -> int:
    """SplitMix64's next output, on Python's own integers."""
    word = (word + 0x9E3779B97F4A7C15) % WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


def plain_bits(count: int, key: Sequence[int]) -> list[int]:
    state = 0
    for part in key:
        state = plain_mix(state ^ plain_mix(part % WORD))
    return [plain_mix((state + i * 0x9E3779B97F4A7C15) % WORD) for i in range(1, count + 1)]


def grid_of_draws() -> NDArray[np.float64]:
    """One number for each (seed, epoch, image, view, purpose) of a small grid, in that shape."""
    axes = np.meshgrid(*(np.arange(n) for n in (6, 6, 6, 6, 6)), indexing="ij")
    return random_uniform(1, *axes)[..., 0]


def test_the_mixer_is_splitmix64() -> None:
    """The reference's outputs for seed 1234567, as its authors' C code prints them."""
    state, outputs = 1234567, []
    for _ in range(3):
        outputs.append(plain_mix(state))
        state += 0x9E3779B97F4A7C15
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("key", [(), *product(EXTREME), *product(EXTREME, EXTREME), (5, 4, 3, 2)])
def test_words_are_those_of_plain_integers(key: tuple[int, ...]) -> None:
    assert random_bits(4, *key).tolist() == plain_bits(4, key)


def test_words_of_many_keys_are_those_of_each_alone() -> None:
    ids, views = np.array([3, -7, 2**40]), np.arange(4)[:, None]
    words = random_bits(5, 11, ids, views, 2)
    assert words.shape == (4, 3, 5)
    assert words.dtype == np.uint64
    for view, place in product(range(4), range(3)):
        expected = plain_bits(5, (11, int(ids[place]), view, 2))
        assert words[view, place].tolist() == expected


def test_asking_for_more_words_does_not_change_the_first() -> None:
    np.testing.assert_array_equal(random_bits(100, 1, 2)[:7], random_bits(7, 1, 2))
    assert random_bits(0, np.arange(3)).shape == (3, 0)


def test_every_part_of_a_key_and_its_place_matter() -> None:
    keys = [(), *(key for length in (1, 2, 3) for key in product(range(8), repeat=length))]
    words = [int(random_bits(1, *key)[0]) for key in keys]
    assert len(set(words)) == len(keys)


def test_uniform_numbers_are_the_highest_53_bits() -> None:
    expected = [word // 2**11 / 2**53 for word in plain_bits(20, (3, 1, 4))]
    assert random_uniform(20, 3, 1, 4).tolist() == expected
    many = random_uniform(200_000, 0)
    assert many.min() >= 0.0
    assert many.max() < 1.0
    assert (2**64 - 1) // 2**11 * 2.0**-53 < 1.0  # the largest there can be


@pytest.mark.parametrize("key", [(0,), (0, 0, 0, 0, 0), (-1, 7), (2**62,)])
def test_uniform_numbers_fill_their_range_evenly(key: tuple[int, ...]) -> None:
    """Chi-squared over 64 bins: mean 63, standard deviation 11.2."""
    counts = np.histogram(random_uniform(64_000, *key), bins=64, range=(0.0, 1.0))[0]
    assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 63 + 5 * 11.2


def test_keys_with_small_numbers_fill_the_range_evenly() -> None:
    draws = grid_of_draws()
    mean_error = 1 / math.sqrt(12 * draws.size)
    assert abs(draws.mean() - 0.5) < 4 * mean_error
    assert abs(draws.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / draws.size)
    assert np.unique(draws).size == draws.size


@pytest.mark.parametrize("axis", range(5))
def test_neighbours_along_each_part_of_the_key_are_unrelated(axis: int) -> None:
    draws = grid_of_draws()
    first, second = np.delete(draws, -1, axis).ravel(), np.delete(draws, 0, axis).ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / math.sqrt(first.size)
    distance = np.abs(first - second) % 1.0  # on the circle: neither near nor opposite
    assert abs(np.minimum(distance, 1 - distance).mean() - 0.25) < 4.5 * 0.1444 / math.sqrt(
        first.size
    )


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)])
def test_two_parts_of_a_key_cannot_be_exchanged(first: int, second: int) -> None:
    draws = grid_of_draws()
    other = draws.swapaxes(first, second)
    differ = ~np.eye(6, dtype=bool)
    pairs = np.moveaxis(draws, (first, second), (0, 1))[differ].ravel()
    swapped = np.moveaxis(other, (first, second), (0, 1))[differ].ravel()
    assert (pairs != swapped).all()
    assert abs(np.corrcoef(pairs, swapped)[0, 1]) < 6.5 / math.sqrt(pairs.size)


def test_successive_words_of_a_key_are_unrelated() -> None:
    draws = random_uniform(2, np.arange(20_000))
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 4.5 / math.sqrt(20_000)


def test_every_bit_is_as_often_set_as_not() -> None:
    words = random_bits(4, np.arange(8_000)).ravel()
    shares = [float(((words >> np.uint64(bit)) & np.uint64(1)).mean()) for bit in range(64)]
    np.testing.assert_allclose(shares, 0.5, atol=4.5 * 0.5 / math.sqrt(words.size))


@pytest.mark.parametrize("count", [0, 1, 2, 17, 1000])
def test_an_order_holds_everything_once(count: int) -> None:
    order = random_order(count, 3, 5)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_an_order_sorts_its_words() -> None:
    words = plain_bits(50, (9, 8))
    assert random_order(50, 9, 8).tolist() == sorted(range(50), key=words.__getitem__)


def test_all_orders_of_three_come_equally_often() -> None:
    orders = [tuple(random_order(3, seed).tolist()) for seed in range(3000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert sum((count - 500) ** 2 / 500 for count in counts) < 5 + 5 * math.sqrt(10)


def test_orders_of_neighbouring_epochs_are_unrelated() -> None:
    first, second = random_order(2000, 0, 0), random_order(2000, 0, 1)
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / math.sqrt(2000)


def test_seeds_are_63_bits_of_the_first_word() -> None:
    seeds = [random_seed(7, part) for part in range(200)]
    assert seeds == [plain_bits(1, (7, part))[0] // 2 for part in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
    assert type(seeds[0]) is int


def test_values_do_not_change_between_versions() -> None:
    """Runs are continued by later versions, so these stay."""
    assert random_bits(3, 0, 1, 2).tolist() == plain_bits(3, (0, 1, 2))
    assert random_seed(0) == 8956835795440834090
    assert random_order(8, 0).tolist() == [6, 7, 1, 4, 3, 5, 2, 0]
