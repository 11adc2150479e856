"""How an image is brought to the size at which a model sees it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from patchwise.checks import check_positive, check_within
from patchwise.data.images import centre_crop
from patchwise.errors import ConfigError

_NUMBERS = {"square": 1, "crop": 2, "short": 1, "most": 1, "own": 0}  # that each size takes


@dataclass(frozen=True)
class Squash:
    """The whole image as a square, bicubic; what has that size already is left as it is."""

    size_px: int

    def __post_init__(self) -> None:
        check_positive("Squash", size_px=self.size_px)

    def __str__(self) -> str:
        return f"squashed to {self.size_px} px"

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "S S 3"]:
        """Resize an image."""
        return _resized(image, self.size_px, self.size_px)


@dataclass(frozen=True)
class CentreCrop:
    """The short side is resized to ``resize_px``, and ``crop_px`` are cut from the middle."""

    resize_px: int
    crop_px: int

    def __post_init__(self) -> None:
        check_positive("CentreCrop", crop_px=self.crop_px)
        check_within("CentreCrop", 1, self.resize_px, crop_px=self.crop_px)

    def __str__(self) -> str:
        return f"short side {self.resize_px} px, centre {self.crop_px} px"

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "S S 3"]:
        """Resize and crop an image."""
        return centre_crop(image, resize_px=self.resize_px, crop_px=self.crop_px)


@dataclass(frozen=True)
class Whole:
    """The whole image in its own shape, each side rounded to the nearest multiple of the patch.

    With ``short_px`` the short side is brought to that first: up or down, or only down if the
    image is not to be enlarged.
    """

    patch_px: int
    short_px: int | None = None
    enlarge: bool = True

    def __post_init__(self) -> None:
        check_positive("Whole", patch_px=self.patch_px)
        if self.short_px is not None:
            check_positive("Whole", short_px=self.short_px)

    def __str__(self) -> str:
        size = "own size"
        if self.short_px is not None:
            size = f"short side {'' if self.enlarge else 'at most '}{self.short_px} px"
        return f"{size}, in whole patches of {self.patch_px} px"

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
        """Resize an image."""
        height, width = image.shape[:2]
        scale = 1.0 if self.short_px is None else self.short_px / min(height, width)
        scale = scale if self.enlarge else min(1.0, scale)
        sides = (max(1, round(side * scale / self.patch_px)) for side in (height, width))
        rows, columns = sides
        return _resized(image, rows * self.patch_px, columns * self.patch_px)


Transform = Squash | CentreCrop | Whole


def parse_size(text: str, patch_px: int, *, caller: str = "embed") -> Transform:
    """Return the transform that a user names.

    Args:
        text: ``square:448`` squashes the whole image to a square; ``crop:256,224`` brings the short
            side to the first and cuts the second from the middle; the others keep the shape, in
            whole patches: ``short:448`` brings the short side to that, ``most:448`` only if it is
            longer, and ``own`` leaves the size.
        patch_px: Of the model.
        caller: In whose name errors are.

    Raises:
        ConfigError: It is none of these, or a side is not made of whole patches.
    """
    kind, _, rest = text.partition(":")
    numbers = [int(part) for part in rest.split(",") if part.isascii() and part.isdigit()]
    if rest.count(",") + bool(rest) != len(numbers) or _NUMBERS.get(kind) != len(numbers):
        raise ConfigError(
            f"{caller}: size must be one of square:PX, short:PX, most:PX, own and crop:PX,PX, "
            f"got {text!r}"
        )
    if kind in {"square", "crop"} and (numbers[-1] % patch_px or not numbers[-1]):
        nearest = max(1, round(numbers[-1] / patch_px)) * patch_px
        raise ConfigError(
            f"{caller}: size must be a multiple of the model's patch of {patch_px} px, "
            f"got {text!r}; {nearest} is the nearest"
        )
    if kind == "square":
        return Squash(*numbers)
    if kind == "crop":
        return CentreCrop(*numbers)
    return Whole(patch_px, numbers[0] if numbers else None, kind != "most")


def _resized(
    image: UInt8[np.ndarray, "H W 3"], height: int, width: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
