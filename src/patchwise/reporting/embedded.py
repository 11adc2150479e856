"""Images as text within a page."""

import base64
import io

from PIL import Image

from patchwise.pictures.figure import Tile
from patchwise.pictures.storage import encode_png

_QUALITY = 88


def data_uri(tile: Tile) -> str:
    """Return a tile as a ``data:`` address: PNG if it is flat or that is smaller, else WebP."""
    png = encode_png(tile.pixels)
    if tile.coarse:
        return _address("image/png", png)
    buffer = io.BytesIO()
    Image.fromarray(tile.pixels).save(buffer, "WEBP", quality=_QUALITY)
    webp = buffer.getvalue()
    return _address("image/webp", webp) if len(webp) < len(png) else _address("image/png", png)


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
