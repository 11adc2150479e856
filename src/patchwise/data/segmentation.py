"""Images whose every pixel has a class: images, a label PNG for each, and a list of classes."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from patchwise.data.layouts.ade20k import open_ade20k
from patchwise.data.layouts.cityscapes import open_cityscapes
from patchwise.data.layouts.coco_stuff import open_coco_stuff_27
from patchwise.data.layouts.pixels import open_pixels
from patchwise.data.layouts.place import find_layout, kind_of
from patchwise.data.layouts.voc import open_voc
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import CATEGORIES, SceneBatch, render_scenes

SCENES_SEED = 2**20  # no training uses it: these scenes are always held out
_FIT_SCENES, _TEST_SCENES = 400, 200
_BLOCK = 32
_OPEN = {
    "ade20k": open_ade20k,
    "cityscapes": open_cityscapes,
    "coco-stuff-27": open_coco_stuff_27,
    "pixels": open_pixels,
    "voc": open_voc,
}


@runtime_checkable
class SegmentationSource(Protocol):
    """Images with a class for every pixel, in an order that never changes."""

    def __len__(self) -> int: ...

    @property
    def images(self) -> ImageSource:
        """The images alone."""
        ...

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Return the labels of one image: classes from 0, or `IGNORED`."""
        ...

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one image in RGB and its labels, which are as large."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of the list of images and labels, the same on every machine."""
        ...


@dataclass(frozen=True)
class SegmentationData:
    """Labelled images in two parts: to learn from, and to be scored on."""

    name: str
    classes: tuple[str, ...]
    scored: tuple[int, ...]  # classes that the mean IoU is taken over
    background: int | None  # the class of what is no object, if there is one
    fit: SegmentationSource
    test: SegmentationSource

    def fingerprint(self) -> str:
        """Return a digest of both parts, the classes and which of them are scored."""
        meaning = (self.classes, self.scored, self.background)
        parts = (*meaning, self.fit.fingerprint(), self.test.fingerprint())
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class SceneMasks:
    """Synthetic scenes with their exact masks; class 0 is the background."""

    first: int
    count: int
    size_px: int

    def __len__(self) -> int:
        return self.count

    @property
    def images(self) -> ImageSource:
        """The scenes alone."""
        return SceneImages(self)

    def label(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Return the mask of one scene."""
        return self.read(index)[1]

    def read(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Return one scene."""
        block, place = divmod(self.first + index, _BLOCK)
        scenes = _draw_block(block, self.size_px)
        return scenes.images[place], scenes.semantic[place]

    def fingerprint(self) -> str:
        """Return what the scenes depend on."""
        return f"scenes {self.first} {self.count} {self.size_px} {SCENES_SEED}"


@dataclass(frozen=True)
class SceneImages:
    """Synthetic scenes without their masks."""

    masks: SceneMasks

    name = "scenes"

    def __len__(self) -> int:
        return len(self.masks)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return one scene."""
        return self.masks.read(index)[0]

    def describe(self, index: int) -> str:
        """Return what messages call one scene."""
        return f"scene {self.masks.first + index}"

    def fingerprint(self) -> str:
        """Return a digest of what the scenes depend on."""
        return hashlib.sha256(self.masks.fingerprint().encode()).hexdigest()


@functools.lru_cache(maxsize=32)
def _draw_block(block: int, size_px: int) -> SceneBatch:
    """Draw scenes that are read one after the other; many at a time are drawn faster."""
    ids = np.arange(block * _BLOCK, (block + 1) * _BLOCK)
    return render_scenes(ids, size_px=size_px, seed=SCENES_SEED)


def open_segmentation(data: str | Path, *, size_px: int = 64) -> SegmentationData:
    """Open images with a class for every pixel.

    Args:
        data: ``"scenes"``, or the folder of a published data set as it is unpacked (VOC 2012,
            ADE20K, Cityscapes, COCO-Stuff-27; see docs/data.md), or a folder that holds

            - ``images/<part>/...``: images, any depth, any format that is read elsewhere;
            - ``labels/<part>/...``: for each an 8-bit grey or palette PNG of the same name;
            - ``classes.yaml`` (or ``.json``): a list of class names, the first for value 0; or a
              table with ``classes`` (that list, or names by value) and, as wanted, ``ignore``
              (values that do not count; 255 by default), ``background`` (the class of what is
              no object), ``scored`` (classes of the mean IoU; all but ignored ones by default),
              ``fit`` and ``test`` (the two parts; "train" and "val" by default).

            Which one it is, the folder tells; ``NAME:FOLDER`` insists on a layout: ``voc``,
            ``ade20k``, ``cityscapes``, ``coco-stuff-27`` or ``pixels``.
        size_px: Side of the scenes, if it is scenes.

    Raises:
        ChoiceError: There is no layout of the name before the colon.
        DataError: Something is missing or wrong; the message says what was expected where.
    """
    if data == "scenes":
        return SegmentationData(
            name="scenes",
            classes=("background", *CATEGORIES),
            scored=tuple(range(1 + len(CATEGORIES))),
            background=0,
            fit=SceneMasks(0, _FIT_SCENES, size_px),
            test=SceneMasks(_FIT_SCENES, _TEST_SCENES, size_px),
        )
    layout, root = find_layout("open_segmentation", data, "segmentation")
    parts = _OPEN[layout](root)
    classes = parts.classes
    return SegmentationData(
        name=parts.name,
        classes=classes.names,
        scored=classes.scored,
        background=classes.background,
        fit=parts.fit,
        test=parts.test,
    )


def is_segmentation(data: str | Path) -> bool:
    """Tell whether ``data`` is meant for `open_segmentation`, by its prefix or what it holds.

    Raises:
        ChoiceError: There is no layout of the name before the colon.
    """
    return data == "scenes" or kind_of("open_labels", data) == "segmentation"
