"""Random numbers that are a pure function of what they are for.

A draw is keyed by whole numbers (seed, epoch, image id, view, purpose), never by the order in which
it is asked for. So it does not depend on workers, on the number of processes, or on where
a run was interrupted, and it is the same on every platform: only 64-bit integer arithmetic is used.

Source: the finaliser of SplitMix64, Steele, Lea and Flood 2014, "Fast splittable pseudorandom
number generators", applied as a counter-based generator.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

Key = int | NDArray[np.int64]


def random_bits(count: int, *key: Key) -> NDArray[np.uint64]:
    """Return ``count`` random 64-bit words for every key.

    Args:
        count: Words for each key, n.
        key: Whole numbers or arrays of them, which broadcast to one shape S; all matter.

    Returns:
        Words of shape S + (n,).
    """
    with np.errstate(over="ignore"):
        state: NDArray[np.uint64] = np.zeros((), dtype=np.uint64)
        for part in key:
            state = _mix(state ^ _mix(np.asarray(part, dtype=np.int64).astype(np.uint64)))
        steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        return _mix(state[..., None] + steps)


def random_uniform(count: int, *key: Key) -> NDArray[np.float64]:
    """Return ``count`` numbers in [0, 1) for every key; see `random_bits`."""
    return (random_bits(count, *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def random_order(count: int, *key: int) -> NDArray[np.int64]:
    """Return a random permutation of ``range(count)`` for one key."""
    words = random_bits(count, *key)
    return np.argsort(words, kind="stable").astype(np.int64)


def random_seed(*key: int) -> int:
    """Return a seed in [0, 2^63) for generators that need one."""
    return int(random_bits(1, *key)[0] >> np.uint64(1))


def _mix(word: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    word = word + _GOLDEN
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    return np.asarray(word ^ (word >> np.uint64(31)))
