"""What every format of weights is here: a name, a test whether a file has it, and a reader."""

from collections.abc import Callable
from dataclasses import dataclass

from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile


@dataclass(frozen=True)
class Loaded:
    """A backbone, and what is known of where it came from."""

    backbone: ViT  # in evaluation mode, float32, on the CPU
    layout: str  # in words
    left_out: tuple[str, ...] = ()  # names of the file's tensors that no feature needs


@dataclass(frozen=True)
class Layout:
    """A format in which weights are published."""

    title: str  # in words, as messages say it
    recognises: Callable[[WeightsFile], bool]  # by names alone; it raises nothing
    read: Callable[[WeightsFile], Loaded]  # raises WeightsError
