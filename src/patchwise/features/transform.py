"""How an image is brought to the size at which a model sees it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from patchwise.checks import check_positive, check_within
from patchwise.data.images import centre_crop


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

    With ``short_px`` the short side is brought to that first, up or down.
    """

    patch_px: int
    short_px: int | None = None

    def __post_init__(self) -> None:
        check_positive("Whole", patch_px=self.patch_px)
        if self.short_px is not None:
            check_positive("Whole", short_px=self.short_px)

    def __str__(self) -> str:
        size = "own size" if self.short_px is None else f"short side {self.short_px} px"
        return f"{size}, in whole patches of {self.patch_px} px"

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
        """Resize an image."""
        height, width = image.shape[:2]
        scale = 1.0 if self.short_px is None else self.short_px / min(height, width)
        sides = (max(1, round(side * scale / self.patch_px)) for side in (height, width))
        rows, columns = sides
        return _resized(image, rows * self.patch_px, columns * self.patch_px)


Transform = Squash | CentreCrop | Whole


def _resized(
    image: UInt8[np.ndarray, "H W 3"], height: int, width: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
