"""What a check of images comes to, as typed values."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from patchwise.data.images import ImageReason
from patchwise.training.forecast import Forecast

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Named:
    """Some images, and what the first few are called."""

    count: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadKind:
    """The images that cannot be used for one reason."""

    reason: ImageReason
    images: Named
    example: str  # the whole message of the first


@dataclass(frozen=True)
class CopyGroup:
    """Images of which one is enough."""

    kept: str
    copies: Named


@dataclass(frozen=True)
class Copies:
    """Images that are there more than once."""

    extra: int = 0  # that could go, one of each group being kept
    groups: int = 0
    largest: tuple[CopyGroup, ...] = ()


@dataclass(frozen=True)
class Spread:
    """How a number is spread over the images."""

    least: float
    low: float  # 5 % are below
    median: float
    high: float  # 95 % are below
    most: float


@dataclass(frozen=True)
class Pictures:
    """What the images that can be used are like, as they are stored."""

    short_side_px: Spread
    long_side_px: Spread
    aspect: Spread  # long side / short side
    channels: dict[str, int]
    bits: dict[str, int]  # of one value, as text: keys of JSON are
    formats: dict[str, int]
    turned: int  # by their EXIF orientation
    several_frames: int
    transparent: int


@dataclass(frozen=True)
class Finding:
    """Something to know, and what to do about it."""

    severity: Severity
    what: str
    advice: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """How to train on these images on this machine."""

    recipe: str
    settings: dict[str, Any]  # to change in it
    command: str
    config: dict[str, Any]  # all settings that follow
    forecast: Forecast | None  # None: not wanted, or it failed
    problem: str | None = None  # why it failed


@dataclass(frozen=True)
class WrittenList:
    """A list of images to train on: good, none twice, no folders of label maps."""

    path: str
    images: int


@dataclass(frozen=True)
class DoctorReport:
    """What `patchwise.doctor` found."""

    data: str
    images: int
    checked: int  # evenly spread over all, if fewer
    usable: int  # of those checked
    left: int  # of the usable, without duplicates and near-duplicates
    bad: tuple[BadKind, ...]  # the most frequent first
    duplicates: Copies  # the same pixels
    near_duplicates: Copies  # the same to the eye; exact copies are not counted again
    flat: Named  # like label maps or drawings
    pictures: Pictures | None  # None: no image can be used
    findings: tuple[Finding, ...]  # the most important first
    proposal: Proposal | None  # None: no image can be used
    written: WrittenList | None
    seconds: float  # that the check took, without the forecast

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), indent=2)
