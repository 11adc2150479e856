"""Which images a head sees in which step."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from patchwise.randomness import random_order

_ORDER = 0  # key of draws


def steps_per_epoch(count: int, batch: int, *, rest: bool = False) -> int:
    """Return the number of batches that show ``count`` images once; see `training_batches`."""
    return max(1, -(-count // batch) if rest else count // batch)


def training_batches(
    count: int, batch: int, *, seed: int, steps: int, rest: bool = False
) -> Iterator[tuple[int, Int64[np.ndarray, " b"]]]:
    """Yield (epoch, images) of every step. Each epoch shows the images in another order.

    Args:
        count: Images that there are.
        batch: Images a step; all where there are fewer.
        seed: Of the orders.
        steps: Batches to yield.
        rest: Whether a last, smaller batch of an epoch is shown, or left out.
    """
    epoch_steps = steps_per_epoch(count, batch, rest=rest)
    for epoch in range(-(-steps // epoch_steps)):
        order = random_order(count, seed, epoch, _ORDER)
        for place in range(min(epoch_steps, steps - epoch * epoch_steps)):
            yield epoch, order[place * batch : (place + 1) * batch]
