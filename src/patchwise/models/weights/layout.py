"""What every format of weights is here: a name, a test whether a file has it, and a reader."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights.files import WeightsFile


@dataclass(frozen=True)
class Loaded:
    """A backbone, and what is known of where it came from."""

    backbone: ViT | FilteredViT  # in evaluation mode, float32, on the CPU
    layout: str  # in words
    # What of the file no feature needs: names of tensors, or their common beginning and ".*".
    left_out: tuple[str, ...] = ()

    @property
    def vit(self) -> ViT:
        """The plain ViT: the backbone, or what is before its filter."""
        return self.backbone if isinstance(self.backbone, ViT) else self.backbone.vit


@dataclass(frozen=True)
class Layout:
    """A format in which weights are published."""

    title: str  # in words, as messages say it
    recognises: Callable[[WeightsFile], bool]  # by names alone; it raises nothing
    read: Callable[[WeightsFile], Loaded]  # raises WeightsError


def gather(left_out: Iterable[str], used: Iterable[str]) -> tuple[str, ...]:
    """Return the names that were left out, those of one part of a model as ``part.*``.

    A part is the shortest beginning, up to a dot, that no name in use has.
    """
    taken = {"", *(start for name in used for start in _beginnings(name))}
    parts = {
        name: next((s for s in _beginnings(name) if s not in taken), name) for name in left_out
    }
    sizes = Counter(parts.values())
    return tuple(dict.fromkeys(f"{p}.*" if sizes[p] > 1 else name for name, p in parts.items()))


def _beginnings(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[: count + 1]) for count in range(len(words))]
