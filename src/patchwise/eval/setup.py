"""What stands behind a result: collected before a protocol runs, completed after it."""

import dataclasses
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from patchwise.checks import check_within
from patchwise.data.labelled import LabelledData
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import LabelledSource
from patchwise.environment import peak_bytes
from patchwise.errors import DataError
from patchwise.eval.results import STORED, DataIdentity, Fingerprint, Result, Setting
from patchwise.features.notes import Notes
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.version import __version__

_PACKAGES = ("torch", "numpy", "pillow", "faiss-cpu")
_NO_SETTINGS = {"preset", "seed"}


@runtime_checkable
class Preset(Protocol):
    """Settings of a protocol: a frozen dataclass whose fields are everything that counts."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def preset(self) -> str:
        """Name of the set-up."""

    @property
    def version(self) -> int:
        """Raised when the same settings would give another number."""

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""


@runtime_checkable
class Runnable(Preset, Protocol):
    """A protocol as all of them are: settings, and how to score a model by them."""

    def run(self, subject: Subject, data: Any) -> Result:  # noqa: ANN401 - its kind is checked
        """Score a model on data of the kind that the protocol is for."""


@dataclass(frozen=True)
class Setup:
    """A protocol with its settings, about to run on a model and on data. The clock is running."""

    preset: str
    version: int
    settings: Mapping[str, Setting]
    data: DataIdentity
    model: ModelIdentity
    device: torch.device
    notes: Notes
    stored: int  # images whose features had come from a store when it began
    seed: int = 0
    began: float = field(default_factory=time.perf_counter)

    def fingerprint(self) -> Fingerprint:
        """Return what stands behind the result that is ready now."""
        return Fingerprint(
            preset=self.preset,
            version=self.version,
            settings=dict(self.settings),
            data=self.data,
            model=self.model,
            seed=self.seed,
            device=_describe(self.device),
            packages=package_versions(),
            seconds=time.perf_counter() - self.began,
            peak_bytes=peak_bytes(self.device),
            features="float32" if self.notes.stored == self.stored else STORED,
        )


def start(settings: Preset, data: DataIdentity, subject: Subject) -> Setup:
    """Return the set-up of a protocol that begins now."""
    check_within(settings.preset, 0, 2**31 - 1, seed=settings.seed)
    return Setup(
        settings.preset,
        settings.version,
        settings_of(settings),
        data,
        subject.identity,
        subject.backbone.device,
        subject.notes,
        subject.notes.stored,
        seed=settings.seed,
    )


def settings_of(protocol: Preset) -> dict[str, Setting]:
    """Return every choice that changes the score, by name."""
    values = dataclasses.asdict(protocol)
    return {name: value for name, value in values.items() if name not in _NO_SETTINGS}


def package_versions() -> dict[str, str]:
    """Return the versions that stand in fingerprints."""
    return {
        "patchwise": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def identify_segmentation(data: SegmentationData) -> DataIdentity:
    """Return name, sizes and digest of labelled images."""
    return DataIdentity(data.name, len(data.fit), len(data.test), data.fingerprint())


def identify_labelled(data: LabelledData) -> DataIdentity:
    """Return name, sizes and digest of images with a class each."""
    return DataIdentity(data.name, len(data.fit), len(data.test_labels), data.fingerprint())


def part_to_score(data: LabelledData, preset: str) -> LabelledSource:
    """Return the test images, for protocols that cannot do with one part.

    Raises:
        DataError: There is one part only.
    """
    if data.test is None:
        raise DataError(
            f"evaluate: data of {preset} must have two parts, train and val, got one in "
            f"{data.name!r}; lay the images out in two folders"
        )
    return data.test


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
