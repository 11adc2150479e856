"""A source whose images tell their number."""

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from patchwise.data.images import ImageProblem


@dataclass(frozen=True)
class Numbered:
    """Images that show their own number, in sizes of their own; some are bad."""

    count: int
    bad: frozenset[int] = frozenset()
    name: str = "numbered"
    fatal: frozenset[int] = field(default=frozenset())  # end the process that reads them

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> NDArray[np.uint8]:
        if index in self.fatal:
            os._exit(3)
        if index in self.bad:
            raise ImageProblem(f"Numbered: {index} must be good, got bad", reason="truncated")
        return np.full((16 + index % 7, 20 + index % 5, 3), index, np.uint8)

    def describe(self, index: int) -> str:
        return f"image {index}"

    def fingerprint(self) -> str:
        return ""
