"""Where the random numbers of views come from: a key for each image, view and purpose."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from patchwise.randomness import random_uniform


class Purpose(IntEnum):
    """What numbers are drawn for. The values are part of every draw: never change one."""

    CROP = 1
    PHOTOMETRIC = 2
    PATCH_PHOTOMETRIC = 3
    DROP_PATH = 4
    RANKED_CELLS = 5


@dataclass(frozen=True)
class DrawKey:
    """Names the draws of one view of some images; equal keys give equal numbers.

    An image's numbers depend on nothing else: not on the other images, not on their order. The
    same image may be the neighbour of several, and be there itself: it draws anew for each.
    """

    seed: int
    epoch: int
    ids: NDArray[np.int64]  # [B]: index of each image in its source
    view: int
    beside: NDArray[np.int64] | None = None  # [B]: the image whose neighbour each one is

    def __len__(self) -> int:
        return len(self.ids)

    def uniform(self, count: int, purpose: Purpose) -> NDArray[np.float64]:
        """Return ``count`` numbers in [0, 1) for each image, [B, count]."""
        key = (self.seed, self.epoch, self.ids, self.view, int(purpose))
        return random_uniform(count, *key, *([] if self.beside is None else [self.beside]))


def between(limits: tuple[float, float], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread numbers in [0, 1) evenly over ``limits``."""
    low, high = limits
    return low + (high - low) * uniform


def factors(strength: float, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread numbers in [0, 1) over the factors [max(0, 1 - strength), 1 + strength]."""
    return between((max(0.0, 1 - strength), 1 + strength), uniform)


def as_float(values: NDArray[np.float64]) -> Float[Tensor, "..."]:
    """Return the values as a float32 tensor on the CPU."""
    return torch.from_numpy(values.astype(np.float32))
