"""Images and folders that the tests of reading share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Photo = Callable[..., NDArray[np.uint8]]
SavePhotos = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def photo() -> Photo:
    """Make an image without symmetry; ``number`` sets its content."""

    def make(number: int = 0, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
        rng = np.random.default_rng(number)
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def save_photos(photo: Photo) -> SavePhotos:
    """Write images 0, 1, ... of different sizes as PNG; each name is a path below ``root``."""

    def save(root: Path, names: list[str]) -> list[Path]:
        paths = [root / name for name in names]
        for number, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            image = photo(number, 20 + number % 5, 24 + number % 3)
            Image.fromarray(image).save(path, "PNG")
        return paths

    return save
