"""One image file to one array, arrays to one batch. Every way a file can be bad has a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from patchwise.checks import check_choice, check_positive, check_within
from patchwise.data.pillow import strict_pillow, upright_rgb
from patchwise.errors import DataError
from patchwise.types import ImageBatch

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")

ImageReason = Literal["unreadable", "empty", "truncated", "enormous", "elongated", "tiny"]


class ImageProblem(DataError):
    """One image cannot be used.

    Attributes:
        reason: "unreadable" (missing, no permission, not an image of a known format), "empty" (no
            bytes), "truncated" (a known format, but cut short or damaged), "enormous" (too many
            pixels to decode), "elongated" (one side too many times the other) or "tiny" (a side
            too short).
    """

    def __init__(self, message: str, *, reason: ImageReason = "unreadable") -> None:
        super().__init__(message)
        self.reason: ImageReason = reason


@dataclass(frozen=True)
class ImageLimits:
    """Which images are refused, before they are decoded."""

    max_pixels: int = 200_000_000  # height x width; "enormous" above
    min_side_px: int = 16  # "tiny" below
    max_aspect: float = 8.0  # long side / short side; "elongated" above: it pads its whole batch

    def __post_init__(self) -> None:
        check_positive("ImageLimits", max_pixels=self.max_pixels, min_side_px=self.min_side_px)
        check_within("ImageLimits", 1, float("inf"), max_aspect=self.max_aspect)


@dataclass(frozen=True, kw_only=True)
class ResizeRule:
    """The size to which images are brought before anything is cropped from them.

    "short": an image whose short side is above ``base_px`` is shrunk until it is ``base_px``, with
    its aspect kept; no image is enlarged. "square": every image becomes ``base_px`` x ``base_px``.
    """

    base_px: int
    base: Literal["short", "square"] = "short"

    def __post_init__(self) -> None:
        check_positive("ResizeRule", base_px=self.base_px)
        check_choice("ResizeRule", ("short", "square"), base=self.base)


def decode_image(
    file: Path | BufferedIOBase,
    *,
    name: str | None = None,
    limits: ImageLimits | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as it looks in a viewer: upright, in RGB, 8 bits.

    Grey values are repeated, palettes looked up, CMYK converted, transparency is laid on white, and
    the EXIF orientation is applied; colour profiles are ignored; of many frames the first counts.
    Values of more than 8 bits are scaled and rounded, never clipped:

        16-bit grey    value / 257; 16-bit colour and grey with alpha keep their high byte
        32-bit whole   value / 257 if all lie in [0, 65535], otherwise as below
        32-bit float   value * 255 if all lie in [0, 1], value if all lie in [0, 255], otherwise
                       255 * (value - least) / (greatest - least)

    Args:
        file: A path, or an open file that can be sought.
        name: What messages call it; by default its path.
        limits: Sizes that are refused; None for the default ones.

    Raises:
        ImageProblem: The image cannot be used; its ``reason`` says why.
    """
    limits = limits or ImageLimits()
    if not isinstance(file, Path):
        return _decode(file, name or str(getattr(file, "name", "a file")), limits)
    name = name or str(file)
    try:
        with file.open("rb") as opened:
            return _decode(opened, name, limits)
    except OSError as error:
        raise ImageProblem(
            f"decode_image: {name!r} must be a readable file, got {error.strerror}",
            reason="unreadable",
        ) from error


def resize_image(
    image: UInt8[np.ndarray, "H W 3"], rule: ResizeRule
) -> UInt8[np.ndarray, "resized_H resized_W 3"]:
    """Apply ``rule`` by Pillow's antialiased bicubic resampling."""
    height, width = image.shape[:2]
    size = resized_size((height, width), rule)
    if size == (height, width):
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def resized_size(size: tuple[int, int], rule: ResizeRule) -> tuple[int, int]:
    """Return the height and width to which ``rule`` brings an image of this height and width."""
    if rule.base == "square":
        return rule.base_px, rule.base_px
    return _short_side_to(size, rule.base_px) if min(size) > rule.base_px else size


def centre_crop(
    image: UInt8[np.ndarray, "H W *C"],
    *,
    resize_px: int,
    crop_px: int,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> UInt8[np.ndarray, "S S *C"]:
    """Resize the short side to ``resize_px``, up or down, and cut ``crop_px`` from the middle.

    For labels, ``resampling`` must be the nearest.

    Source: the usual evaluation transform; sizes and offsets are rounded as torchvision's
    ``Resize`` and ``CenterCrop`` round them.
    """
    check_within("centre_crop", 1, resize_px, crop_px=crop_px)
    height, width = image.shape[:2]
    size = _short_side_to((width, height), resize_px)
    left, top = (round((side - crop_px) / 2) for side in size)
    resized = Image.fromarray(image).resize(size, resampling)
    return np.array(resized)[top : top + crop_px, left : left + crop_px]


def collate(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], ids: Sequence[int], *, epoch: int
) -> ImageBatch:
    """Lay images into the top left corners of one batch; the rest is 0."""
    if not images or len(images) != len(ids):
        raise DataError(
            f"collate: images and ids must be as many, at least one, "
            f"got {len(images)} images and {len(ids)} ids"
        )
    sizes = torch.tensor([image.shape[:2] for image in images])  # [B, 2]
    height, width = (int(side) for side in sizes.amax(0))
    pixels = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
    for row, image in zip(pixels.numpy(), images, strict=True):
        row[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
    return ImageBatch(pixels, sizes, torch.tensor(ids, dtype=torch.int64), epoch)


def _decode(file: BufferedIOBase, name: str, limits: ImageLimits) -> UInt8[np.ndarray, "H W 3"]:
    if not file.read(1):
        raise ImageProblem(
            f"decode_image: {name!r} must hold an image, got 0 bytes", reason="empty"
        )
    file.seek(0)
    try:
        with strict_pillow(), Image.open(cast("IO[bytes]", file), formats=FORMATS) as image:
            _check_size(image, name, limits)
            image.load()
            return np.array(upright_rgb(image))
    except ImageProblem:
        raise
    except UnidentifiedImageError as error:
        raise ImageProblem(
            f"decode_image: {name!r} must be one of {', '.join(FORMATS)}, "
            f"got other content or a rare kind of these",
            reason="unreadable",
        ) from error
    except Exception as error:  # damaged files make decoders raise almost anything
        raise ImageProblem(
            f"decode_image: {name!r} must be a whole image, "
            f"got one that is cut short or damaged ({type(error).__name__}: {error})",
            reason="truncated",
        ) from error


def _check_size(image: Image.Image, name: str, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageProblem(
            f"decode_image: {name!r} must have at most {limits.max_pixels} pixels, "
            f"got {height} x {width}",
            reason="enormous",
        )
    if min(width, height) < limits.min_side_px:
        raise ImageProblem(
            f"decode_image: {name!r} must have sides of at least {limits.min_side_px} px, "
            f"got {height} x {width}",
            reason="tiny",
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageProblem(
            f"decode_image: {name!r} must have a long side of at most {limits.max_aspect:g} times "
            f"the short one, got {height} x {width}; cut it into shorter pieces",
            reason="elongated",
        )


def _short_side_to(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    first, second = (side * side_px // min(size) for side in size)
    return first, second
