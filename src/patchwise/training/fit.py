"""Choosing what makes a run fit into a limit of memory, without changing what it computes."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.run import RunConfig
from patchwise.errors import ConfigError
from patchwise.training.probe import Need, probe, waiting_bytes

_UNITS = {"MB": 10**6, "MIB": 2**20, "GB": 10**9, "GIB": 2**30}
_MARGIN = 0.93  # share of the limit that is used: a run's memory is fragmented as it goes on
_SAMPLES = (1, 4)  # images at a time that are measured; the rest lies on the line through them

Probe = Callable[[RunConfig, int], Need | None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Fit:
    """Settings that fit, and what they need."""

    config: RunConfig
    need: Need

    @property
    def images(self) -> int:
        """Images that go through the method together."""
        return self.config.train.batch // self.config.train.accumulate

    @property
    def images_per_s(self) -> float:
        """Speed of the steps, without reading images."""
        return self.images / self.need.seconds


def parse_bytes(text: str, *, caller: str = "fit") -> int:
    """Return a size such as ``8GiB``, ``7.5 GB`` or ``900MiB`` in bytes.

    >>> parse_bytes("8GiB")
    8589934592
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", text)
    if not found or found[2].upper() not in _UNITS or not float(found[1]):
        raise ConfigError(
            f"{caller}: the limit must be a size such as 8GiB or 900MiB, got {text!r}"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def fit_memory(config: RunConfig, limit_bytes: int, say: Say, *, measured: Probe = probe) -> Fit:
    """Choose how a step's batch is worked off, so that the run's memory stays below a limit.

    Tried are three ways, each measured with 1 and 4 images at a time and extrapolated in a
    straight line: as usual; with activations computed again; and with one view at a time besides.
    Of all that fit, the fastest is taken, and measured once more as it is.

    Args:
        config: Batch and method stay; the gradient of a step is the same, up to rounding. Not so
            with CoTAP: each part of a batch is assigned, and ranked, on its own.
        limit_bytes: Of the training process; on a GPU, of its memory. Processes that read images
            are not counted, nor is evaluation on the way.
        say: Told what is measured.
        measured: What measures.

    Returns:
        The settings, with ``train.accumulate``, ``train.recompute`` and
        ``method.views_per_pass`` chosen, and what they need.

    Raises:
        ConfigError: Even one view of one image at a time needs more.
    """
    if config.train.precision is None:  # the choice is made later; this is the larger one
        config = replace(config, train=replace(config.train, precision="float32"))
    room = int(limit_bytes * _MARGIN) - waiting_bytes(config)
    candidates: list[Fit] = []
    least = math.inf
    for way in _ways(config):
        needs = {images: measured(way, images) for images in _samples(config.train.batch)}
        say(f"fit: {_describe(way)}: {_describe_needs(needs)}")
        known = {images: need for images, need in needs.items() if need is not None}
        least = min([least, *(need.bytes for need in known.values())])
        candidates += _candidates(way, known, room)
    for fit in sorted(candidates, key=lambda fit: -fit.images_per_s):
        need = measured(fit.config, fit.images)
        if need is not None and need.bytes <= room:
            return Fit(fit.config, need)
    raise ConfigError(
        f"fit: the limit must be at least what one view of one image at a time needs, "
        f"{_gib((least + waiting_bytes(config)) / _MARGIN)}, got {_gib(limit_bytes)}; "
        f"lower {_most_numbers(config)}, the views or the size of the backbone"
    )


def _most_numbers(config: RunConfig) -> str:
    """Return the options that make a head's scores large."""
    if isinstance(config.method, CoTAPConfig):
        return "method.queued_patches, method.queued_images, prototypes"
    return "method.prototypes"


def _ways(config: RunConfig) -> list[RunConfig]:
    recompute = replace(config, train=replace(config.train, recompute=True))
    one_view = replace(recompute, method=replace(recompute.method, views_per_pass=1))
    return [config, recompute, one_view]


def _samples(batch: int) -> list[int]:
    return [images for images in _SAMPLES if images <= batch]


def _candidates(way: RunConfig, known: dict[int, Need], room: int) -> list[Fit]:
    """Return every split of the batch that should fit, by the line through what was measured."""
    batch = way.train.batch
    found = []
    for images in (i for i in range(1, batch + 1) if batch % i == 0):
        need = _extrapolate(known, images)
        if need is not None and need.bytes <= room:
            train = replace(way.train, accumulate=batch // images)
            found.append(Fit(replace(way, train=train), need))
    return found


def _extrapolate(known: dict[int, Need], images: int) -> Need | None:
    if images in known or len(known) < 2:
        return known.get(images)
    (few, low), (many, high) = sorted(known.items())
    share = (images - few) / (many - few)
    return Need(
        round(low.bytes + share * max(0, high.bytes - low.bytes)),
        low.seconds + share * max(0.0, high.seconds - low.seconds),
    )


def _describe(way: RunConfig) -> str:
    if way.method.views_per_pass == 1:
        return "activations computed again, one view at a time"
    return "activations computed again" if way.train.recompute else "as usual"


def _describe_needs(needs: dict[int, Need | None]) -> str:
    return ", ".join(
        f"{'more than there is' if need is None else _gib(need.bytes)} with {images} at a time"
        for images, need in needs.items()
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
