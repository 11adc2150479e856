"""Labelled images squashed to squares, and their patches with the classes in each."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationSource
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash


class Squares(NamedTuple):
    """Images and labels of one size."""

    pixels: UInt8[Tensor, "B 3 S S"]
    labels: UInt8[Tensor, "B L L"]


class Patches(NamedTuple):
    """Features of the patches of some images, and which classes each of them shows."""

    features: Float[Tensor, "B N D"]
    shares: Float[Tensor, "B N K"]  # of the patch's pixels; ignored ones belong to no class
    labels: UInt8[Tensor, "B S S"]


def read_squares(
    source: SegmentationSource, ids: Sequence[int], *, size_px: int, batch: int
) -> Iterator[Squares]:
    """Yield images and labels, both squashed to ``size_px``: bicubic, and nearest for labels."""
    for start in range(0, len(ids), batch):
        read = [source.read(index) for index in ids[start : start + batch]]
        yield stack_squares(
            [squash(image, size_px, Image.Resampling.BICUBIC) for image, _ in read],
            [squash(label, size_px, Image.Resampling.NEAREST) for _, label in read],
        )


def squash(
    pixels: NDArray[np.uint8], size_px: int, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """Resize to a square by Pillow; what has that size already is left as it is."""
    if pixels.shape[:2] == (size_px, size_px):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size_px, size_px), resampling))


def stack_squares(
    images: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.uint8]]
) -> Squares:
    """Put images (H, W, 3) and labels (H, W) of one size into batches."""
    pixels = torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous()
    return Squares(pixels, torch.from_numpy(np.stack(labels)))


def read_patches(
    subject: Subject,
    source: SegmentationSource,
    ids: Sequence[int],
    *,
    size_px: int,
    classes: int,
) -> Iterator[Patches]:
    """Yield the patch features of images with the share of each class in every patch."""
    place = 0
    for found in read_features(subject, source.images, Squash(size_px), ids=ids):
        labels = read_labels(source, ids[place : place + len(found.patches)], size_px=size_px)
        place += len(found.patches)
        shares = class_shares(labels, patch_px=subject.backbone.patch_px, classes=classes)
        yield Patches(found.patches, shares.to(subject.backbone.device), labels)


def read_labels(
    source: SegmentationSource, ids: Sequence[int], *, size_px: int
) -> UInt8[Tensor, "B L L"]:
    """Return the labels of images, squashed to ``size_px``: each pixel takes the nearest."""
    labels = [squash(source.label(index), size_px, Image.Resampling.NEAREST) for index in ids]
    return torch.from_numpy(np.stack(labels))


def class_shares(
    labels: Int[Tensor, "B H W"] | UInt8[Tensor, "B H W"], *, patch_px: int, classes: int
) -> Float[Tensor, "B N K"]:
    """Return the share of each class in the pixels of every patch.

    Pixels that are `IGNORED` belong to no class: the shares of a patch sum to 1 without them.
    """
    height, width = labels.shape[1:]
    rows, columns = height // patch_px, width // patch_px
    row, column = torch.arange(height)[:, None] // patch_px, torch.arange(width) // patch_px
    place = (torch.arange(len(labels))[:, None, None] * rows + row) * columns + column
    kept = (labels != IGNORED) & (row < rows) & (column < columns)
    cell = place[kept] * classes + labels[kept].long()  # one counter a patch and class
    counts = torch.bincount(cell, minlength=len(labels) * rows * columns * classes)
    return counts.reshape(len(labels), rows * columns, classes).float() / patch_px**2
