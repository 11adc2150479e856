"""Pictures that the tests of the check share."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Picture = Callable[..., NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def picture() -> Picture:
    """Make a picture with structure at all scales, as photographs have; ``number`` sets it."""

    def make(number: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
        rng = np.random.default_rng(number)
        total = np.zeros((height, width, 3))
        for side in (3, 6, 12, 24, 48):
            coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
            total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / side
        total -= total.min()
        return np.asarray(total * 255 / total.max(), np.uint8)

    return make


def saved_again(
    pixels: NDArray[np.uint8], *, quality: int, scale: float = 1.0
) -> NDArray[np.uint8]:
    """Return a picture after it was resized and stored as JPEG."""
    image, file = Image.fromarray(pixels), BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))
