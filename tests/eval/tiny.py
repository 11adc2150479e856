"""Small labelled images whose classes are colours, and backbones that see them well or not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData, SegmentationSource
from patchwise.features.subject import ModelIdentity, Subject
from patchwise.models.backbone import Backbone, BackboneOutput

COLOURS = np.array([[40, 40, 40], [220, 30, 30], [30, 220, 30]], np.uint8)
MODEL = ModelIdentity("model", None)


def subject_of(backbone: Backbone) -> Subject:
    """A backbone as protocols take it."""
    return Subject(backbone, MODEL)


@dataclass(frozen=True)
class ImagesOf:
    """The images of labelled ones."""

    source: SegmentationSource

    name = "images"

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> NDArray[np.uint8]:
        return self.source.read(index)[0]

    def describe(self, index: int) -> str:
        return f"image {index}"

    def fingerprint(self) -> str:
        return self.source.fingerprint()


@dataclass(frozen=True)
class ColourBlocks:
    """Images of 2 x 2 blocks, each in the colour of its class; some pixels have no class."""

    count: int
    seed: int = 0
    block_px: int = 16
    unlabelled: float = 0.0
    order: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def images(self) -> ImagesOf:
        return ImagesOf(self)

    def label(self, index: int) -> NDArray[np.uint8]:
        return self.read(index)[1]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        index = index if self.order is None else self.order[index]
        draw = np.random.default_rng((self.seed, index))
        blocks = draw.integers(0, 3, (2, 2))
        label = np.kron(blocks, np.ones((self.block_px, self.block_px), np.int64)).astype(np.uint8)
        noise = draw.integers(-20, 20, (*label.shape, 3))
        image = (COLOURS[label].astype(np.int64) + noise).clip(0, 255).astype(np.uint8)
        label[draw.random(label.shape) < self.unlabelled] = IGNORED
        return image, label

    def fingerprint(self) -> str:
        return repr(self)


def colour_data(**options: float) -> SegmentationData:
    return SegmentationData(
        name="blocks",
        classes=("ground", "red", "green"),
        scored=(0, 1, 2),
        background=None,
        fit=ColourBlocks(24, **options),  # type: ignore[arg-type]
        test=ColourBlocks(12, seed=1, **options),  # type: ignore[arg-type]
    )


class Sighted:
    """The mean colour of each patch."""

    dim, patch_px, device = 3, 8, torch.device("cpu")

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        maps = torch.nn.functional.avg_pool2d(images, self.patch_px)
        patches = maps.flatten(2).mT
        return BackboneOutput(patches.mean(dim=1), patches, (maps.shape[2], maps.shape[3]))

    def last_blocks(self, images: Tensor, *, count: int) -> tuple[BackboneOutput, ...]:
        return (self(images),) * count


class Blind(Sighted):
    """The same for every patch."""

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        seen = super().__call__(images)
        return BackboneOutput(torch.ones_like(seen.cls), torch.ones_like(seen.patches), seen.grid)


def save_colours(root: Path, counts: dict[str, int]) -> Path:
    """Write images of one colour each: class folders red and green in the given parts."""
    draw = np.random.default_rng(0)
    for part, count in counts.items():
        for index in range(count):
            name = ("red", "green")[index % 2]
            pixels = COLOURS[1 + index % 2] + draw.integers(0, 30, (40, 50, 3))
            path = root / part / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return root


def save_pixels(root: Path) -> Path:
    """Write `colour_data` as images, label PNGs and a list of classes."""
    data = colour_data()
    for part, source in (("train", data.fit), ("val", data.test)):
        for folder in ("images", "labels"):
            (root / folder / part).mkdir(parents=True)
        for index in range(len(source)):
            for folder, pixels in zip(("images", "labels"), source.read(index), strict=True):
                Image.fromarray(pixels).save(root / folder / part / f"{index}.png")
    (root / "classes.yaml").write_text(f"[{', '.join(data.classes)}]\n")
    return root
