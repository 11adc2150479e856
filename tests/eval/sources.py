"""Labelled images whose colours tell where each pixel was."""

import numpy as np
from numpy.typing import NDArray

from tests.eval.tiny import ImagesOf


class Coordinates:
    """Red is three times the row, green three times the column; so is the label the column."""

    def __init__(self, height: int = 48, width: int = 64) -> None:
        self.size = height, width
        self.seen: list[int] = []

    def __len__(self) -> int:
        return 4

    @property
    def images(self) -> ImagesOf:
        return ImagesOf(self)

    def label(self, index: int) -> NDArray[np.uint8]:
        return self.read(index)[1]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        self.seen.append(index)
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        image = np.stack([3 * y, 3 * x, 0 * x], axis=-1).astype(np.uint8)
        return image, x.astype(np.uint8)

    def fingerprint(self) -> str:
        return ""
