"""What the tests of stored features share: a model that can be told from others, and its images."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchwise.features.notes import Notes
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.models.backbone import BackboneOutput
from tests.eval.tiny import Sighted

IDENTITY = ModelIdentity("counting", "c" * 64)


class Counting(Sighted):
    """Mean colours; remembers how many images it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        self.seen += len(images)
        return super().__call__(images)


@dataclass
class Photos:
    """Noise in several shapes, whole patches or not; each image shows its number."""

    count: int
    seed: int = 0
    name: str = "photos"
    read_ids: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> NDArray[np.uint8]:
        self.read_ids.append(index)
        draw = np.random.default_rng((self.seed, index))
        height, width = draw.integers(3, 6, 2) * 8 + draw.integers(-2, 3, 2)
        return draw.integers(0, 256, (height, width, 3), dtype=np.uint8)

    def describe(self, index: int) -> str:
        return f"photo {index}"

    def fingerprint(self) -> str:
        return f"photos {self.count}"  # not of the seed: as if names and sizes of files agreed


@dataclass
class Heard:
    """A subject, what it was told, and what it has seen."""

    subject: Subject
    told: list[str]
    backbone: Counting


def heard_subject(stores: Path | None = None, *, batch: int = 5) -> Heard:
    told: list[str] = []
    backbone = Counting()
    notes = Notes(told.append)
    return Heard(
        Subject(backbone, IDENTITY, stores=stores, batch=batch, notes=notes), told, backbone
    )


def assert_near(stored: Tensor, exact: Tensor) -> None:
    """Equal within what float16 rounds away: half a unit of 11 bits, or of the least number."""
    assert stored.dtype == exact.dtype == torch.float32
    assert ((stored - exact).abs() <= exact.abs() * 2**-11 + 2**-25).all()
