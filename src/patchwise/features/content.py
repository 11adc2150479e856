"""Which features a store holds, and in what they differ from those that are wanted."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from patchwise.data.source import ImageSource
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.features.transform import Transform
from patchwise.features.windows import Windows

LAYER = "last"  # the model's own output
_CLOSE = 2  # grey levels by which decoders may differ in an image's mean
_GLANCES = 3


@dataclass(frozen=True)
class Request:
    """Features that somebody wants of all images of a source."""

    source: ImageSource
    transform: Transform
    windows: Windows | None = None  # None: every image is seen whole
    patches: bool = True  # besides CLS


class Glance(NamedTuple):
    """A few numbers about one image: names and sizes of files can be equal by chance."""

    image: int  # its number
    height: int
    width: int
    red: int  # means, grey levels
    green: int
    blue: int

    def agrees(self, other: "Glance") -> bool:
        """Tell whether it may be the same image, read by another decoder."""
        means = zip(self[3:], other[3:], strict=True)
        return self[:3] == other[:3] and all(abs(a - b) <= _CLOSE for a, b in means)


@dataclass(frozen=True)
class Images:
    """Which images."""

    name: str
    count: int
    sha256: str
    glances: tuple[Glance, ...]

    def agree(self, other: "Images") -> bool:
        """Tell whether these are the same images, whatever their folder is called."""
        if (self.count, self.sha256) != (other.count, other.sha256):
            return False
        return all(a.agrees(b) for a, b in zip(self.glances, other.glances, strict=True))

    def __str__(self) -> str:
        return f"{self.count} images of {self.name!r}"


@dataclass(frozen=True)
class Content:
    """Everything that features depend on, in plain values."""

    model: ModelIdentity
    data: Images
    transform: dict[str, str | int | bool | None]  # its kind, its fields, and the same in words
    windows: Windows | None
    layer: str
    precision: str  # of the forward pass
    patches: bool
    dim: int  # D
    patch_px: int

    def digest(self) -> str:
        """Return a name for stores of this content."""
        values = dataclasses.asdict(self)
        for named in ("model", "data"):
            del values[named]["name"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def describe(subject: Subject, request: Request) -> Content:
    """Return what a store of the features that are wanted would hold."""
    source, transform, device = request.source, request.transform, subject.backbone.device.type
    precision = torch.float32
    if torch.is_autocast_enabled(device):
        precision = torch.get_autocast_dtype(device)
    fields: Mapping[str, str | int | bool | None] = dataclasses.asdict(transform)
    return Content(
        model=subject.identity,
        data=Images(source.name, len(source), source.fingerprint(), _look_at(source)),
        transform={"kind": type(transform).__name__, **fields, "words": str(transform)},
        windows=request.windows,
        layer=LAYER,
        precision=str(precision).removeprefix("torch."),
        patches=request.patches,
        dim=subject.backbone.dim,
        patch_px=subject.backbone.patch_px,
    )


def differences(held: Content, wanted: Content) -> list[str]:
    """Return in what features differ, for people: ``"layer (last, wanted 11)"``; none: they agree.

    Whether there are patches is no difference here.
    """
    same_kind = held.transform["kind"] == wanted.transform["kind"]
    agree = {
        "weights": held.model.sha256 == wanted.model.sha256,
        "data": held.data.agree(wanted.data),
        "size" if same_kind else "transform": held.transform == wanted.transform,
        "windows": held.windows == wanted.windows,
        "layer": held.layer == wanted.layer,
        "precision": held.precision == wanted.precision,
    }
    words = [_words(content) for content in (held, wanted)]
    return [
        f"{name} ({words[0][name]}, wanted {words[1][name]})"
        for name, agrees in agree.items()
        if not agrees
    ]


def _words(content: Content) -> dict[str, str]:
    size = str(content.transform["words"])
    return {
        "weights": f"{content.model.name} {(content.model.sha256 or '')[:8]}",
        "data": f"{content.data} {content.data.sha256[:8]}",
        "transform": size,
        "size": size,
        "windows": str(content.windows or "whole images"),
        "layer": content.layer,
        "precision": content.precision,
    }


def _look_at(source: ImageSource) -> tuple[Glance, ...]:
    """Glance at the first image, the last one and one in the middle."""
    last = len(source) - 1
    glances = []
    for index in sorted({round(last * part / (_GLANCES - 1)) for part in range(_GLANCES)}):
        image = source.read(index)
        means = (round(float(mean)) for mean in image.mean(axis=(0, 1)))
        glances.append(Glance(index, image.shape[0], image.shape[1], *means))
    return tuple(glances)
