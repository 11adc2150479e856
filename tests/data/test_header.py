"""What headers say, for every kind of file, without decoding."""

import struct
import tarfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwise.data.header import ImageHeader, drawn_header, read_header
from patchwise.data.images import ImageProblem, decode_image
from patchwise.data.source import StoredSource, open_source
from tests.data.conftest import Photo, SavePhotos
from tests.data.test_images import encoded, png_header


def header(image: Image.Image, file_format: str, **options: object) -> ImageHeader:
    return read_header(BytesIO(encoded(image, file_format, **options)))


def deep_rgb_png() -> bytes:
    """Return the header of a PNG with 16 bits a value, which Pillow cannot write."""
    data = bytearray(png_header(20, 30))
    data[24] = 16
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("mode", "file_format", "channels", "bits"),
    [
        ("L", "PNG", "grey", 8),
        ("1", "PNG", "grey", 1),
        ("I;16", "PNG", "grey", 16),
        ("I;16", "TIFF", "grey", 16),
        ("F", "TIFF", "grey", 32),
        ("1", "TIFF", "grey", 1),
        ("LA", "PNG", "grey with alpha", 8),
        ("RGB", "PNG", "RGB", 8),
        ("RGB", "BMP", "RGB", 8),
        ("RGB", "WEBP", "RGB", 8),
        ("RGBA", "PNG", "RGBA", 8),
        ("CMYK", "JPEG", "CMYK", 8),
        ("CMYK", "TIFF", "CMYK", 8),
        ("L", "JPEG", "grey", 8),
    ],
)
def test_channels_and_bits(mode: str, file_format: str, channels: str, bits: int) -> None:
    found = header(Image.new(mode, (30, 20)), file_format)
    assert (found.file_format, found.channels, found.bits) == (file_format, channels, bits)
    assert (found.height, found.width) == (20, 30)
    assert (found.turned, found.frames, found.transparent) == (False, False, "A" in mode)


def test_palettes_are_told_and_may_be_transparent() -> None:
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(colours).quantize(200)
    assert header(image, "PNG")[1:3] == ("palette", 8)
    assert not header(image, "PNG").transparent
    assert header(image, "PNG", transparency=3).transparent


def test_16_bits_of_colour_are_seen_where_pillow_shows_8() -> None:
    found = read_header(BytesIO(deep_rgb_png()))
    assert (found.channels, found.bits) == ("RGB", 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_stored_and_turns_are_told(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = header(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    assert (found.height, found.width) == (20, 30)
    assert found.turned == (orientation > 1)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_several_frames_are_told(file_format: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    assert header(frames[0], file_format, save_all=True, append_images=frames[1:]).frames
    assert not header(frames[0], file_format).frames


def test_a_picture_with_its_depth_map_is_a_jpeg_with_one_frame() -> None:
    pictures = [Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20))]
    file = BytesIO()
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:])
    file.seek(0)
    decode_image(file)  # training can use it
    found = read_header(file)
    assert (found.file_format, found.frames) == ("JPEG", False)


def test_damage_after_the_first_frame_does_not_matter() -> None:
    frames = [Image.effect_noise((40, 40), 90) for _ in range(2)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = len(encoded(frames[0], "GIF"))
    for cut in range(first, len(data), 50):
        decode_image(BytesIO(data[:cut]))
        assert read_header(BytesIO(data[:cut])).file_format == "GIF"


def test_pixels_are_not_decoded() -> None:
    found = read_header(BytesIO(png_header(60_000, 60_000)))
    assert (found.height, found.width) == (60_000, 60_000)


def test_what_is_drawn_has_a_header_too() -> None:
    assert drawn_header(20, 30)[:5] == ("drawn", "RGB", 8, 20, 30)


def test_folders_lists_and_archives_tell_the_same(tmp_path: Path, save_photos: SavePhotos) -> None:
    save_photos(tmp_path / "x", ["a.png", "b.png"])
    (tmp_path / "x.txt").write_text("x/a.png\nx/b.png")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x", "")
    for name in ("x", "x.txt", "x.tar"):
        source = open_source(tmp_path / name)
        assert isinstance(source, StoredSource)
        for index in range(2):
            found = source.header(index)
            assert (found.height, found.width) == source.read(index).shape[:2]
    assert not isinstance(open_source("scenes:3"), StoredSource)


@pytest.mark.bad_input
@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_header_is_a_problem(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageProblem) as caught:
        read_header(path)
    start = f"read_header: {str(path)!r} must be an image with a whole header, got Unidentified"
    assert str(caught.value).startswith(start)
    with pytest.raises(ImageProblem, match="'else' must be an image"):
        read_header(BytesIO(content), name="else")
    path.unlink()
    with pytest.raises(ImageProblem, match="got FileNotFoundError"):
        read_header(path)


def test_reading_a_header_leaves_decoding_as_it_was(photo: Photo) -> None:
    file = BytesIO(encoded(photo(), "PNG"))
    read_header(file)
    np.testing.assert_array_equal(decode_image(BytesIO(file.getvalue())), photo())
