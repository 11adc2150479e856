"""What Pillow is told before it decodes, and what is made of what it gives."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

_ORIENTATION_TAG, _SAMPLE_FORMAT_TAG = 0x0112, 339
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Settings:
    """Pillow's process-wide settings, put aside while any thread decodes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._warnings = warnings.catch_warnings()
        self._before: tuple[int | None, bool] = (None, False)

    def set(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
            self._warnings = warnings.catch_warnings()
            self._warnings.__enter__()
            warnings.simplefilter("ignore")

    def restore(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            self._warnings.__exit__(None, None, None)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_settings = _Settings()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Let Pillow decode images of any size, without warnings, and none that are cut short.

    Its own size limit is a process-wide setting that warns at one size and raises at another; the
    caller checks sizes instead. Whatever the user set is restored.
    """
    _settings.set()
    try:
        yield
    finally:
        _settings.restore()


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return the image as a viewer shows it: turned as its EXIF data say, 8-bit RGB, on white."""
    turn = exif_turn(image)
    image = _eight_bit(image)
    if image.has_transparency_data:
        top = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", top.size, "white"), top)
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def exif_turn(image: Image.Image) -> Image.Transpose | None:
    """Return how the image must be turned to be upright; None if it is stored that way."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF data in a good image: it is taken as it is stored
        return None


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "I" and _is_unsigned(image):
        values = values.view(np.uint32)  # Pillow reads them as signed
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"pixels must be finite, got values from {low} to {high}")
    offset, scale = _to_255(low, high, fixed=(1.0, 255.0) if image.mode == "F" else (65535.0,))
    return Image.fromarray(np.rint((values.astype(np.float64) - offset) * scale).astype(np.uint8))


def _is_unsigned(image: Image.Image) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(_SAMPLE_FORMAT_TAG, (1,))[0] == 1)


def _to_255(low: float, high: float, *, fixed: tuple[float, ...]) -> tuple[float, float]:
    """Return the offset and factor that bring [low, high] into [0, 255].

    The first of the ``fixed`` ranges [0, limit] that holds the values; otherwise their own range.
    """
    for limit in fixed:
        if low >= 0 and high <= limit:
            return 0.0, 255.0 / limit
    return low, 255.0 / (high - low) if high > low else 0.0
