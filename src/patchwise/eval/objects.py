"""Which patches belong together: by masks, by labels of pixels, or by what a model looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import Scenes
from patchwise.eval.squares import class_shares, read_labels, squash
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.models.backbone import prepare
from patchwise.ops.foreground import foreground_mask

Origin = Literal["masks", "labels", "attention"]
NOTHING = -1  # a patch of no object
_BACKGROUND = 0  # of the masks of scenes
_BLOCK = 32  # images whose masks are held at a time


@dataclass(frozen=True)
class Objects:
    """The object and the category of every patch; `NOTHING` where there is none."""

    origin: Origin
    instance: Int[Tensor, "B N"]  # numbers are unique over all images
    category: Int[Tensor, "B N"]


def scored_images(data: ImageSource | SegmentationData) -> ImageSource:
    """Return the images alone; of labelled pixels, those of the test part."""
    return data.test.images if isinstance(data, SegmentationData) else data


def find_objects(
    subject: Subject,
    data: ImageSource | SegmentationData,
    ids: Sequence[int],
    *,
    size_px: int,
    least_share: float,
) -> Objects | None:
    """Return the objects of images that were squashed to ``size_px``.

    - Synthetic scenes: their masks.
    - Labelled pixels (the test part): what has one class in one image is taken for one object;
      background and classes that are not scored are none.
    - Images alone: what the model looks at is taken for one object and one category, the image's;
      see `patchwise.ops.foreground`. None if the model does not tell.

    Args:
        subject: Whose patches.
        data: Of the images.
        ids: Which images.
        size_px: Side of the squares.
        least_share: Of a patch's pixels that an object must have for the patch to be its own.
    """
    patch_px = subject.backbone.patch_px
    if isinstance(data, Scenes):
        return _by_masks(data, ids, size_px, patch_px, least_share)
    if isinstance(data, SegmentationData):
        return _by_labels(data, ids, size_px, patch_px, least_share)
    return _by_attention(subject, data, ids, size_px)


def _by_masks(
    scenes: Scenes, ids: Sequence[int], size_px: int, patch_px: int, least_share: float
) -> Objects:
    categories, instances = [], []
    for start in range(0, len(ids), _BLOCK):
        drawn = scenes.scenes(np.array(ids[start : start + _BLOCK]))
        found = [
            _most(_squashed(masks, size_px), patch_px, least_share)
            for masks in (drawn.semantic, drawn.instance)
        ]
        kept = torch.ones_like(found[0], dtype=torch.bool)
        for value in found:
            kept &= (value != _BACKGROUND) & (value != IGNORED)
        categories.append(torch.where(kept, found[0], NOTHING))
        instances.append(torch.where(kept, found[1], NOTHING))
    return _objects("masks", torch.cat(instances), torch.cat(categories))


def _by_labels(
    data: SegmentationData, ids: Sequence[int], size_px: int, patch_px: int, least_share: float
) -> Objects:
    wanted = torch.zeros(IGNORED + 1, dtype=torch.bool)
    wanted[[c for c in data.scored if c != data.background]] = True
    found = []
    for start in range(0, len(ids), _BLOCK):
        labels = read_labels(data.test, ids[start : start + _BLOCK], size_px=size_px)
        found.append(_most(labels, patch_px, least_share, classes=len(data.classes)))
    category = torch.cat(found)
    category = torch.where(wanted[category], category, NOTHING)
    return _objects("labels", category, category)


def _by_attention(
    subject: Subject, source: ImageSource, ids: Sequence[int], size_px: int
) -> Objects | None:
    transform, masks = Squash(size_px), []
    for start in range(0, len(ids), subject.batch):
        pixels = np.stack([transform(source.read(i)) for i in ids[start : start + subject.batch]])
        images = torch.from_numpy(pixels).movedim(-1, 1)
        with torch.inference_mode():
            output = subject.backbone(prepare(subject.backbone, images), attention=True)
        if output.attention is None:
            return None
        masks.append(foreground_mask(output.attention.float(), output.grid).cpu())
    mask = torch.cat(masks)
    image = torch.arange(len(mask))[:, None].expand_as(mask)
    seen = torch.where(mask, image, NOTHING)
    return Objects("attention", seen, seen)


def _objects(origin: Origin, instance: Int[Tensor, "B N"], category: Int[Tensor, "B N"]) -> Objects:
    """Make numbers of instances, which are unique within an image, unique over all."""
    image = torch.arange(len(instance))[:, None]
    unique = torch.where(instance == NOTHING, NOTHING, image * (IGNORED + 1) + instance)
    return Objects(origin, unique, category)


def _squashed(masks: UInt8[np.ndarray, "B H W"], size_px: int) -> UInt8[Tensor, "B S S"]:
    squares: list[NDArray[np.uint8]] = [
        squash(mask, size_px, Image.Resampling.NEAREST) for mask in masks
    ]
    return torch.from_numpy(np.stack(squares))


def _most(
    labels: UInt8[Tensor, "B S S"],
    patch_px: int,
    least_share: float,
    *,
    classes: int | None = None,
) -> Int[Tensor, "B N"]:
    """Return the value that covers enough of each patch; `IGNORED` if none does."""
    count = int(labels.max()) + 1 if classes is None else classes
    share, value = class_shares(labels, patch_px=patch_px, classes=count).max(dim=-1)
    return torch.where(share >= least_share, value, IGNORED)
