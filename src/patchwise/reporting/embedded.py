"""Images as text within a page."""

import base64
import io

from PIL import Image

from patchwise.pictures.figure import Tile
from patchwise.pictures.storage import encode_png

_QUALITY = 88


def data_uri(tile: Tile) -> str:
    """Return a tile as a ``data:`` address: flat squares exactly, photographs as WebP."""
    if tile.coarse:
        return _address("image/png", encode_png(tile.pixels))
    buffer = io.BytesIO()
    Image.fromarray(tile.pixels).save(buffer, "WEBP", quality=_QUALITY, method=2)
    return _address("image/webp", buffer.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
