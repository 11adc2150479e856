"""What is known of images and machine before a recipe is made for them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.run import RunConfig
from patchwise.data.images import ImageProblem
from patchwise.data.source import ImageSource
from patchwise.errors import DataError

Device = Literal["cpu", "cuda"]
_SAMPLED_IMAGES = 64


@dataclass(frozen=True)
class Facts:
    """What derived recipes are computed from."""

    images: int
    short_side_px: int  # median
    device: Device
    init: ViTConfig | None = None  # architecture of the weights to begin with
    batch: int | None = None  # as the user wants it; None: by the recipe
    epochs: float | None = None  # likewise

    @property
    def workers(self) -> int:
        """Processes that read images: a CPU that trains has one to spare, a GPU wants many."""
        return 1 if self.device == "cpu" else min(12, os.cpu_count() or 1)


Recipe = Callable[[Facts], RunConfig]


def read_facts(source: ImageSource, device: Device) -> Facts:
    """Count the images, and measure the short side of some of them.

    Raises:
        DataError: None of the images that were tried can be read.
    """
    indices = np.linspace(0, len(source) - 1, num=min(len(source), _SAMPLED_IMAGES)).astype(int)
    sides = []
    for index in indices:
        try:
            sides.append(min(source.read(int(index)).shape[:2]))
        except ImageProblem as problem:
            last = problem
    if not sides:
        raise DataError(
            f"train: data must hold readable images, got none among the {len(indices)} tried of "
            f"{source.name}; the last: {last}"
        )
    return Facts(len(source), int(np.median(sides)), device)
