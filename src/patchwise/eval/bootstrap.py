"""How far a score may be off because the test images are these and not others."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchwise.checks import check_positive
from patchwise.eval.results import Interval
from patchwise.randomness import random_uniform

_DRAWS = 1000
_CONFIDENCE = 0.95
_HELD = 2**24  # weights of images that are held at a time


def bootstrap(
    counts: Int[Tensor, "N C"] | Float[Tensor, "N C"],
    statistic: Callable[[Float[Tensor, "R C"]], Float[Tensor, " R"]],
    *,
    seed: int = 0,
) -> Interval | None:
    """Return the 95 % percentile interval of a statistic of summed counts, over images.

    Images are drawn as many as there are, with repetition, 1,000 times. The interval says nothing
    of other seeds of training, nor of other labels to learn from.

    Args:
        counts: What each image adds to the sums of which the statistic is a function.
        statistic: From sums, one row a draw, to scores. NaN: such a draw has no score.
        seed: Of the draws.

    Returns:
        None with fewer than two images, or if no draw has a score.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    number = len(counts)
    if number < 2:
        return None
    at_once = max(1, _HELD // number)
    scores = []
    for first in range(0, _DRAWS, at_once):
        draws = np.arange(first, min(first + at_once, _DRAWS))
        chosen = (random_uniform(number, seed, draws) * number).astype(np.int64)
        weights = torch.zeros(len(draws), number, dtype=torch.float64)
        ones = torch.ones_like(weights)
        weights.scatter_add_(1, torch.from_numpy(chosen).clamp(max=number - 1), ones)
        scores.append(statistic(weights @ counts.double()))
    known = torch.cat(scores)
    known = known[~known.isnan()]
    if not len(known):
        return None
    tail = (1 - _CONFIDENCE) / 2
    low, high = torch.quantile(known, torch.tensor([tail, 1 - tail], dtype=known.dtype)).tolist()
    return Interval(low, high)


def share(sums: Float[Tensor, "R 2"]) -> Float[Tensor, " R"]:
    """Return the share of the right among all, a statistic of (right, all)."""
    return sums[:, 0] / sums[:, 1]


def shares_of_images(
    right: Bool[Tensor, " Q"], image: Int[Tensor, " Q"], *, images: int
) -> Float[Tensor, "N 2"]:
    """Return how many queries of each image are right, and how many there are."""
    check_positive("shares_of_images", images=images)
    counts = torch.zeros(images, 2, dtype=torch.float64)
    counts[:, 0].index_add_(0, image, right.double())
    counts[:, 1].index_add_(0, image, torch.ones(len(right), dtype=torch.float64))
    return counts
