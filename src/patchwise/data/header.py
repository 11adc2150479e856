"""What the header of an image file says, without its pixels being decoded."""

from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple, cast

from PIL import Image, TiffImagePlugin

from patchwise.data.images import FORMATS, ImageProblem
from patchwise.data.pillow import exif_turn, strict_pillow

# Pillow's modes by what they hold; the bits of a value are told apart.
_CHANNELS = {
    "1": "grey", "L": "grey", "I": "grey", "F": "grey", "I;16": "grey", "I;16B": "grey",
    "I;16L": "grey", "I;16N": "grey", "LA": "grey with alpha", "La": "grey with alpha",
    "P": "palette", "PA": "palette", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB",
    "CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV",
}  # fmt: skip
_BITS = {"1": 1, "I": 32, "F": 32}
_BITS_PER_SAMPLE_TAG = 258
_PNG_DEPTH_AT = 24  # byte of a PNG file: after the signature, and length, name and size in IHDR


class ImageHeader(NamedTuple):
    """Facts about a stored image, before anything is done to it."""

    file_format: str  # one of FORMATS, or "drawn" for what is in no file
    channels: str  # "grey", "RGB", "palette", ...
    bits: int  # of one value; of a palette's entry number
    height: int  # as stored, not turned
    width: int
    turned: bool  # by its EXIF orientation
    transparent: bool
    frames: bool  # more than one; the first is used


def drawn_header(height: int, width: int) -> ImageHeader:
    """Return the header of an image that was drawn by this program: RGB, 8 bits."""
    return ImageHeader("drawn", "RGB", 8, height, width, False, False, False)


def read_header(file: Path | BufferedIOBase, *, name: str | None = None) -> ImageHeader:
    """Read the facts of an image that `decode_image` would decode.

    Args:
        file: A path, or an open file that can be sought.
        name: What messages call it; by default its path.

    Raises:
        ImageProblem: There is no such image, or its header is damaged. That the rest is whole is
            not checked.
    """
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return _read(opened)
        return _read(file)
    except Exception as error:  # damaged files make decoders raise almost anything
        called = name or str(file if isinstance(file, Path) else getattr(file, "name", "a file"))
        raise ImageProblem(
            f"read_header: {called!r} must be an image with a whole header, "
            f"got {type(error).__name__}: {error}"
        ) from error


def _read(file: BufferedIOBase) -> ImageHeader:
    file.seek(0)
    with strict_pillow(), Image.open(cast("IO[bytes]", file), formats=FORMATS) as image:
        # Phones store a picture with its depth or gain map as MPO, which is a JPEG to all others.
        is_jpeg = image.format in {"JPEG", "MPO"}
        return ImageHeader(
            file_format="JPEG" if is_jpeg else str(image.format),
            channels=_CHANNELS.get(image.mode, image.mode),
            bits=_bits(image, file),
            height=image.height,
            width=image.width,
            turned=exif_turn(image) is not None,
            transparent=image.has_transparency_data,
            frames=not is_jpeg and _has_frames(image),  # last: it may decode some
        )


def _has_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged, and not used
        return False


def _bits(image: Image.Image, file: BufferedIOBase) -> int:
    """Return the bits of one stored value; Pillow's modes tell that of grey images only."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (1,))))
    if image.format == "PNG":
        place = file.tell()
        file.seek(_PNG_DEPTH_AT)
        depth = file.read(1)
        file.seek(place)
        return depth[0]
    return 16 if image.mode.startswith("I;16") else _BITS.get(image.mode, 8)
