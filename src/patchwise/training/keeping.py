"""Whether the images of a run stay in memory once they have been read."""

from collections.abc import Mapping

import torch

from patchwise.configs.run import RunConfig
from patchwise.data.images import ResizeRule
from patchwise.data.resident import Residence, resident_bytes
from patchwise.data.source import ImageSource
from patchwise.environment import free_memory
from patchwise.errors import ConfigError

_SHARES = {"cpu": 1 / 4, "cuda": 1 / 2}  # of the free memory that images may take unasked


def choose_residences(
    config: RunConfig,
    sources: Mapping[str, ImageSource],
    rule: ResizeRule,
    *,
    processes: int = 1,
) -> dict[str, Residence]:
    """Return where the images of each input stay, by ``data.keep``; none if they are not to.

    Inputs that one source serves share its images: each reads them once, and they are kept once.
    Unasked, they do not stay for a run of one epoch, which would never come back to them. Of
    several ``processes`` on a machine each keeps what it reads, in the end all: on a CPU, they
    share the free memory.

    Raises:
        ConfigError: They are to stay, but take more than the free memory.
    """
    keep, device = config.data.keep, torch.device(config.train.device)
    if keep == "none" or (keep == "auto" and config.train.epochs <= 1):
        return {}
    of_sources = {id(s): Residence(device, resident_bytes(s, rule)) for s in sources.values()}
    needed = sum(residence.expected_bytes for residence in of_sources.values())
    free = free_memory(device) // (processes if device.type == "cpu" else 1)
    if keep == "device" and needed > free:
        raise ConfigError(
            f"config: key 'data.keep' must be 'none' or 'auto' where images take more than the "
            f"{_mib(free)} that are free on {device}, got 'device' for {_mib(needed)} of images"
        )
    if keep == "auto" and needed > _SHARES[device.type] * free:
        return {}
    return {name: of_sources[id(source)] for name, source in sources.items()}


def describe_residences(
    residences: Mapping[str, Residence], sources: Mapping[str, ImageSource]
) -> str:
    """Return how many images stay where, on one line."""
    images = sum(len(source) for source in {id(s): s for s in sources.values()}.values())
    needed = expected_bytes(residences)
    device = next(iter(residences.values())).device
    return f"keeping {images:,} images, {_mib(needed)}, on {device} after the first epoch"


def expected_bytes(residences: Mapping[str, Residence]) -> int:
    """Return what all images that stay will take."""
    places = {id(residence): residence.expected_bytes for residence in residences.values()}
    return sum(places.values())


def _mib(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
