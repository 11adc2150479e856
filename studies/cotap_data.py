"""Images of the study of CoTAP: to be tuned on, to be scored on; and neighbours by chance."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from patchwise.data.segmentation import (
    SceneMasks,
    SegmentationData,
    SegmentationSource,
    open_segmentation,
)
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import Scenes
from patchwise.eval.baselines import RawPatches
from patchwise.features.subject import ModelIdentity
from patchwise.models.backbone import BackboneOutput

SCENES = "scenes"
_SIZE_PX = 64
_HELD_OUT = Scenes(500, seed=2**20 + 3)  # with objects that are known one by one
_FIT = 400  # scenes to learn from, as many as protocols have
# Numbers that no protocol scores, and of the last two that nothing was ever chosen by: whoever does
# choose by them takes others. 200 scenes, as protocols have them, tell no 0.02 apart.
_UNSEEN = SceneMasks(16384, _FIT, _SIZE_PX), SceneMasks(20480, 1200, _SIZE_PX)
_TUNING = SceneMasks(1024, _FIT, _SIZE_PX), SceneMasks(2048, 600, _SIZE_PX)
_ONE_IN = 4  # of the images to learn from, to be scored on while tuning


@dataclass(frozen=True)
class Some:
    """Some of the images of a source, with their labels."""

    whole: SegmentationSource
    ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> ImageSource:
        """The images alone."""
        return SomeImages(self.whole.images, self.ids)

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Return the labels of one image."""
        return self.whole.label(self.ids[index])

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one image and its labels."""
        return self.whole.read(self.ids[index])

    def fingerprint(self) -> str:
        """Return a digest of the list."""
        return _digest(self.whole.fingerprint(), self.ids)


@dataclass(frozen=True)
class SomeImages:
    """Some of the images of a source."""

    whole: ImageSource
    ids: Sequence[int]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{len(self.ids)} of {self.whole.name}"

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return one image."""
        return self.whole.read(self.ids[index])

    def describe(self, index: int) -> str:
        """Return what messages call one image."""
        return self.whole.describe(self.ids[index])

    def fingerprint(self) -> str:
        """Return a digest of the list."""
        return _digest(self.whole.fingerprint(), self.ids)


class Noise(RawPatches):
    """A feature drawn for each image: it has the pixels of all to go by, and tells nothing."""

    def __init__(self, patch_px: int) -> None:
        super().__init__(patch_px)
        self.dim = 32
        self.identity = ModelIdentity(f"noise for patches of {patch_px} px", _digest("noise", ()))

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        grid = images.shape[-2] // self.patch_px, images.shape[-1] // self.patch_px
        drawn = torch.stack([self._draw(image) for image in images])
        patches = drawn[:, None].expand(-1, grid[0] * grid[1], -1)
        return BackboneOutput(drawn, patches, grid)

    def _draw(self, image: Tensor) -> Tensor:
        seed = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "little") >> 1)
        return torch.randn(self.dim, generator=generator)


def noise() -> Noise:
    """Return what finds neighbours by chance."""
    return Noise(8)


def unseen_data(labelled: str) -> SegmentationData:
    """Return what backbones are scored on in the end: scenes, or a folder as it is laid out."""
    whole = open_segmentation(labelled)
    if labelled == SCENES:
        return replace(whole, name="scenes to score on", fit=_UNSEEN[0], test=_UNSEEN[1])
    return whole


def tuning_data(labelled: str) -> SegmentationData:
    """Return what tries are chosen by: no image that is scored in the end is among them."""
    whole = unseen_data(labelled)
    if labelled == SCENES:
        return replace(whole, name="scenes to tune on", fit=_TUNING[0], test=_TUNING[1])
    ids = range(len(whole.fit))
    return replace(
        whole,
        name=f"{whole.name}, to tune on",
        fit=Some(whole.fit, [i for i in ids if i % _ONE_IN]),
        test=Some(whole.fit, [i for i in ids if not i % _ONE_IN]),
    )


def health_data(labelled: str) -> Scenes | SegmentationData:
    """Return the images whose features' distances are measured."""
    return _HELD_OUT if labelled == SCENES else unseen_data(labelled)


def locate(name: str, sets: Path) -> str:
    """Return scenes as they are, and other names as folders of the image sets."""
    return name if name.startswith(SCENES) else str((sets / name).resolve())


def _digest(name: str, ids: Sequence[int]) -> str:
    return hashlib.sha256(f"{name} {list(ids)}".encode()).hexdigest()
