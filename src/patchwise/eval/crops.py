"""Random parts of images, for heads that are trained on frozen features."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from patchwise.checks import check_positive, check_within
from patchwise.data.segmentation import SegmentationSource
from patchwise.eval.squares import Squares, stack_squares
from patchwise.randomness import random_uniform

_CROPS = 1  # key of draws; 0 is that of orders


class Crop(NamedTuple):
    """A part of an image."""

    box: tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the image
    flipped: bool  # left to right

    def cut(
        self,
        pixels: UInt8[np.ndarray, "H W *channels"],
        size: tuple[int, int],
        resampling: Image.Resampling,
    ) -> UInt8[np.ndarray, "_ _ *channels"]:
        """Return this part of an image (H, W, 3) or of labels (H, W), at a height and width."""
        part = np.array(Image.fromarray(pixels).resize(size[::-1], resampling, box=self.box))
        return np.ascontiguousarray(part[:, ::-1]) if self.flipped else part


@dataclass(frozen=True)
class CropRange:
    """Which parts of an image are drawn: the usual random resized crop, mirrored or not.

    Source: Szegedy et al. 2015, arXiv:1409.4842.
    Differs: sides are not rounded to whole pixels; where a crop would leave the image, its aspect
        is changed, not its area, and nothing is drawn again.
    """

    area_frac: tuple[float, float]  # limits of the area, as a share of the image's
    aspect: tuple[float, float]  # limits of width / height, drawn log-uniformly
    flip_prob: float

    def __post_init__(self) -> None:
        name = "CropRange"
        for limits, (low, high) in {"area_frac": self.area_frac, "aspect": self.aspect}.items():
            check_positive(name, **{f"{limits}[0]": low, f"{limits}[1]": high})
            check_within(name, low, float("inf"), **{f"{limits}[1]": high})
        check_within(name, 0, 1, **{"area_frac[1]": self.area_frac[1]})
        check_within(name, 0, 1, flip_prob=self.flip_prob)

    def draw(
        self, ids: Int64[np.ndarray, " b"], *, seed: int, epoch: int
    ) -> Float64[np.ndarray, "b 5"]:
        """Return what `place` needs for each of some images."""
        return random_uniform(5, seed, epoch, ids, _CROPS)

    def place(self, size: tuple[int, int], draw: Float64[np.ndarray, " 5"]) -> Crop:
        """Return a part of an image of a height and width.

        Args:
            size: Height and width of the image.
            draw: Numbers in [0, 1) for area, aspect, top, left and mirroring.
        """
        height, width = size
        low, high = self.area_frac
        area = (low + (high - low) * draw[0]) * height * width
        logs = [math.log(limit) for limit in self.aspect]
        aspect = math.exp(logs[0] + (logs[1] - logs[0]) * draw[1])
        aspect = min(max(aspect, area / height**2), width**2 / area)  # both sides fit
        rows, columns = min(height, math.sqrt(area / aspect)), min(width, math.sqrt(area * aspect))
        top, left = draw[2] * (height - rows), draw[3] * (width - columns)
        return Crop((left, top, left + columns, top + rows), bool(draw[4] < self.flip_prob))


@dataclass(frozen=True)
class LabelledCrops:
    """Random parts of labelled images, resized to one square for images and one for labels."""

    range: CropRange
    size_px: int
    label_px: int
    resampling: Image.Resampling  # of images; labels take the nearest
    seed: int

    def read(
        self, source: SegmentationSource, ids: Int64[np.ndarray, " b"], *, epoch: int
    ) -> Squares:
        """Read some images and cut a part out of each, another one in each epoch."""
        images, labels = [], []
        for index, draw in zip(
            ids.tolist(), self.range.draw(ids, seed=self.seed, epoch=epoch), strict=True
        ):
            image, label = source.read(index)
            crop = self.range.place((label.shape[0], label.shape[1]), draw)
            images.append(crop.cut(image, (self.size_px, self.size_px), self.resampling))
            nearest = Image.Resampling.NEAREST
            labels.append(crop.cut(label, (self.label_px, self.label_px), nearest))
        return stack_squares(images, labels)
