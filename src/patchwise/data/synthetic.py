"""Synthetic scenes: textured, partly hidden objects with exact masks, the same on every platform.

They are for training and testing where there are no photographs. What an object is shows in its
outline, its parts and the structure of its texture over more than one patch; colour, light, size,
contrast, background and noise are drawn apart from it and tell nothing.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8
from numpy.typing import NDArray

from patchwise.checks import check_positive, check_within
from patchwise.data.synthetic_layout import Purpose, draw_background, draw_colours, lay_out
from patchwise.data.synthetic_objects import KINDS
from patchwise.data.synthetic_painting import (
    blank_canvas,
    colour_pixels,
    draw_noise,
    instances,
    kinds_of,
    paint_objects,
)
from patchwise.errors import RangeError, ShapeError
from patchwise.randomness import random_bits

CATEGORIES: tuple[str, ...] = tuple(kind.name for kind in KINDS)

_VERSION = 1  # of the drawing: raised whenever any scene's bytes change
_CHUNK = 32  # scenes drawn at a time: their arrays fit a processor's cache
_CACHE_BYTES = 1 << 28  # of rendered scenes that a `Scenes` keeps


@dataclass(frozen=True)
class SceneBatch:
    """Scenes with their masks."""

    images: UInt8[np.ndarray, "B H W 3"]
    semantic: UInt8[np.ndarray, "B H W"]  # 0 background, else 1 + index into CATEGORIES
    instance: UInt8[np.ndarray, "B H W"]  # 0 background, 1 to 4 the objects from back to front

    def __len__(self) -> int:
        return len(self.images)


def render_scenes(ids: Int[np.ndarray, " B"], *, size_px: int = 64, seed: int = 0) -> SceneBatch:
    """Draw scenes; each is a pure function of its id, ``size_px`` and ``seed``.

    Args:
        ids: Which scenes, any whole numbers [B].
        size_px: Side of the scenes, 64 to 128; the same id shows the same scene at every size.
        seed: Of the set of scenes.

    Returns:
        The scenes, in the order of ``ids``.

    Raises:
        ShapeError: ``ids`` is no list of whole numbers.
        RangeError: ``size_px`` is not in [64, 128].
    """
    check_within("render_scenes", 64, 128, size_px=size_px)
    wanted = _as_ids("render_scenes", ids)
    chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
    parts = [_render_chunk(chunk, size_px, seed) for chunk in chunks or [wanted]]
    return SceneBatch(
        images=np.concatenate([part.images for part in parts]),
        semantic=np.concatenate([part.semantic for part in parts]),
        instance=np.concatenate([part.instance for part in parts]),
    )


def shuffle_patches(
    scenes: SceneBatch, *, patch_px: int, seed: int, ids: Int[np.ndarray, " B"]
) -> SceneBatch:
    """Shuffle the patches within each scene, masks too: a control without any larger structure.

    What can still be learnt from the result is in single patches.

    Args:
        scenes: B scenes.
        patch_px: Side of a patch; must divide the side of the scenes.
        seed: Of the orders.
        ids: Of the scenes [B]; the order of a scene's patches depends on its id and the seed.

    Raises:
        RangeError: ``patch_px`` is not positive or does not divide the scenes' side.
        ShapeError: There is not one id for each scene.
    """
    check_positive("shuffle_patches", patch_px=patch_px)
    wanted = _as_ids("shuffle_patches", ids)
    count, size_px = scenes.semantic.shape[:2]
    if len(wanted) != count:
        raise ShapeError(
            f"shuffle_patches: ids must have one entry for each of the {count} scenes, "
            f"got {len(wanted)}"
        )
    if size_px % patch_px:
        raise RangeError(
            f"shuffle_patches: patch_px must divide the scenes' side of {size_px}, got {patch_px}"
        )
    words = random_bits((size_px // patch_px) ** 2, seed, wanted, Purpose.SHUFFLE)
    order = np.argsort(words, axis=1, kind="stable")
    return SceneBatch(
        images=_reorder(scenes.images, order, patch_px),
        semantic=_reorder(scenes.semantic[..., None], order, patch_px)[..., 0],
        instance=_reorder(scenes.instance[..., None], order, patch_px)[..., 0],
    )


class Scenes:
    """A source of ``count`` synthetic images: the scenes 0 to count - 1.

    Scenes are drawn when they are first read. Where all of them fit, they are kept.
    """

    def __init__(self, count: int, *, size_px: int = 64, seed: int = 0) -> None:
        check_positive("Scenes", count=count)
        check_within("Scenes", 64, 128, size_px=size_px)
        self.count = count
        self.size_px = size_px
        self.seed = seed
        self.name = f"scenes:{count}"
        self._keep = count * size_px * size_px * 3 <= _CACHE_BYTES
        self._cache: NDArray[np.uint8] | None = None  # one piece: many would scatter the heap
        self._drawn = np.zeros(-(-count // _CHUNK), dtype=np.bool_)

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Return the image of one scene.

        Raises:
            RangeError: There is no such scene.
        """
        check_within("Scenes.read", 0, self.count - 1, index=index)
        if not self._keep:
            alone: NDArray[np.uint8] = self.scenes(np.array([index])).images[0]
            return alone
        if self._cache is None:
            self._cache = np.zeros((self.count, self.size_px, self.size_px, 3), dtype=np.uint8)
        block = index // _CHUNK
        if not self._drawn[block]:
            ids = np.arange(block * _CHUNK, min((block + 1) * _CHUNK, self.count))
            self._cache[ids] = self.scenes(ids).images
            self._drawn[block] = True
        image: NDArray[np.uint8] = self._cache[index].copy()
        return image

    def scenes(self, ids: Int[np.ndarray, " B"]) -> SceneBatch:
        """Return scenes with their masks.

        Raises:
            RangeError: There is no scene of such an id.
        """
        wanted = _as_ids("Scenes.scenes", ids)
        if len(wanted):
            low, high = int(wanted.min()), int(wanted.max())
            check_within("Scenes.scenes", 0, self.count - 1, lowest_id=low, highest_id=high)
        return render_scenes(wanted, size_px=self.size_px, seed=self.seed)

    def describe(self, index: int) -> str:
        """Return what to call one image in a message."""
        return f"scene {index}"

    def fingerprint(self) -> str:
        """Return a digest of everything that the images depend on."""
        what = f"patchwise scenes {_VERSION} {self.count} {self.size_px} {self.seed}"
        return hashlib.sha256(what.encode()).hexdigest()


def _render_chunk(ids: NDArray[np.int64], size_px: int, seed: int) -> SceneBatch:
    layout, background = lay_out(ids, seed), draw_background(ids, seed)
    canvas = blank_canvas(ids, background, size_px=size_px, seed=seed)
    paint_objects(layout, canvas)
    noise = draw_noise(ids, background.noise, size_px=size_px, seed=seed)
    images = colour_pixels(canvas, draw_colours(ids, seed), noise)
    instance = instances(canvas.surface)
    return SceneBatch(images, kinds_of(layout, instance), instance)


def _as_ids(caller: str, ids: Int[np.ndarray, " B"]) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ShapeError(
            f"{caller}: ids must be a list of whole numbers, got {array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


def _reorder(
    pixels: NDArray[np.uint8], order: NDArray[np.int64], patch_px: int
) -> NDArray[np.uint8]:
    """Take patch ``order[b, n]`` of (B, H, W, C) pixels to place n of scene b."""
    count, size_px, _, channels = pixels.shape
    grid = size_px // patch_px
    shape = (count, grid, patch_px, grid, patch_px, channels)
    patches = pixels.reshape(shape).swapaxes(2, 3)
    patches = patches.reshape(count, grid * grid, patch_px, patch_px, channels)
    patches = np.take_along_axis(patches, order[:, :, None, None, None], axis=1)
    patches = patches.reshape(count, grid, grid, patch_px, patch_px, channels).swapaxes(2, 3)
    return patches.reshape(pixels.shape)
