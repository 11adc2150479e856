"""Images within a page."""

import base64
import io

import numpy as np
from PIL import Image

from patchwise.pictures.figure import Tile
from patchwise.reporting.embedded import data_uri

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def decoded(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.split(",")[1])
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def test_maps_are_exact() -> None:
    uri = data_uri(Tile(NOISE, "label", "alt", coarse=True))
    assert uri.startswith("data:image/png;base64,")
    assert (decoded(uri) == NOISE).all()


def test_photographs_are_small_and_close() -> None:
    smooth = np.linspace(0, 255, 200)[:, None, None] * np.ones((1, 200, 3))
    smooth = (smooth + np.random.default_rng(0).normal(0, 3, smooth.shape)).clip(0, 255)
    tile = Tile(smooth.astype(np.uint8), "label", "alt")
    uri = data_uri(tile)
    assert uri.startswith("data:image/webp;base64,")
    assert np.abs(decoded(uri).astype(float) - smooth).mean() < 6
    assert len(uri) < len(data_uri(Tile(tile.pixels, "label", "alt", coarse=True)))
