"""What Pillow gives, and what must become of it."""

import struct
import threading
import warnings
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from patchwise.data.pillow import strict_pillow, upright_rgb

ORIENTATION = 0x0112
# Where the top left corner of the picture lies in what is stored, by EXIF's own words
# ("row 0 is the visual top, column 0 the visual left side", and so on): how to undo it.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    with strict_pillow():
        return np.array(upright_rgb(image))


def through_file(image: Image.Image, file_format: str, **options: object) -> Image.Image:
    file = BytesIO()
    image.save(file, file_format, **options)
    opened = Image.open(file)
    opened.load()
    return opened


def tiff(values: NDArray[np.generic], sample_format: int) -> Image.Image:
    """Write a grey TIFF by hand: Pillow does not write all kinds that it reads."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width = values.shape
    data = values.tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, values.itemsize * 8), (259, 3, 1)]
    tags += [(262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
    tags += [(339, 3, sample_format)]
    file = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8 + len(data))
    file += data + struct.pack(f"{order}H", len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *([value, 0][: 5 - kind]))
        file += struct.pack(f"{order}HHI", tag, kind, 1) + packed
    return Image.open(BytesIO(file + struct.pack(f"{order}I", 0)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_is_undone(orientation: int, file_format: str) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    image = through_file(Image.fromarray(stored), file_format, exif=exif, **options)
    np.testing.assert_array_equal(rgb(image), UPRIGHT[orientation](stored))


def test_orientation_6_shows_a_picture_taken_with_the_camera_turned() -> None:
    """EXIF: "row 0 is the visual right side": the stored top edge is seen at the right."""
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[0] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    seen = rgb(through_file(Image.fromarray(stored), "PNG", exif=exif))
    assert seen.shape == (30, 20, 3)
    assert (seen[:, -1] == 255).all()
    assert (seen[:, :-1] == 0).all()


def test_damaged_exif_data_do_not_spoil_an_image() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = through_file(Image.fromarray(stored), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(rgb(image), stored)


@pytest.mark.parametrize(
    ("dtype", "sample_format"), [("<u2", 1), (">u2", 1), ("<u4", 1), ("<i4", 2)]
)
def test_16_bit_values_are_divided_by_257(dtype: str, sample_format: int) -> None:
    values = np.arange(0, 65536, 64).reshape(32, 32)
    seen = rgb(tiff(values.astype(dtype), sample_format))
    assert (seen == seen[..., :1]).all()
    np.testing.assert_array_equal(seen[..., 0], np.round(values / 257))


def test_a_16_bit_png_is_divided_by_257() -> None:
    values = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    values[-1, -1] = 65535
    seen = rgb(through_file(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(seen[..., 1], np.round(values / 257))
    assert seen.max() == 255


@pytest.mark.parametrize(
    ("dtype", "sample_format", "low", "high"),
    [("<u4", 1, 0, 2**32 - 1), ("<i4", 2, -(2**31), 2**31 - 1), ("<f4", 3, -3.5, 900.0)],
)
def test_other_ranges_are_stretched_to_0_to_255(
    dtype: str, sample_format: int, low: float, high: float
) -> None:
    values = np.linspace(low, high, 1024).reshape(32, 32).astype(dtype)
    seen = rgb(tiff(values, sample_format))[..., 0].ravel()
    np.testing.assert_allclose(seen, np.linspace(0, 255, 1024), atol=0.51)
    assert (np.diff(seen.astype(int)) >= 0).all()


@pytest.mark.parametrize("limit", [1.0, 255.0])
@pytest.mark.parametrize("top", [0.5, 1.0])
def test_floats_in_a_usual_range_keep_it(limit: float, top: float) -> None:
    values = np.linspace(0, limit * top, 1024).reshape(32, 32).astype("<f4")
    np.testing.assert_allclose(
        rgb(tiff(values, 3))[..., 0], values * (255 / limit), atol=0.51, rtol=0
    )


def test_a_constant_outside_every_range_becomes_black() -> None:
    assert (rgb(tiff(np.full((20, 20), -7.0, "<f4"), 3)) == 0).all()


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    values = np.zeros((20, 20), "<f4")
    values[3, 4] = value
    with pytest.raises(ValueError, match="pixels must be finite, got values from"):
        rgb(tiff(values, 3))


def test_transparency_is_laid_on_white() -> None:
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:10, :, 3] = 255
    pixels[15:, :, 3] = 51  # a fifth
    seen = rgb(through_file(Image.fromarray(pixels), "PNG"))
    assert (seen[:10] == [200, 0, 0]).all()
    assert (seen[10:15] == 255).all()
    np.testing.assert_allclose(seen[15:], np.broadcast_to([244, 204, 204], (5, 20, 3)), atol=1)


def test_grey_with_alpha_is_laid_on_white() -> None:
    pixels = np.full((20, 20, 2), 90, np.uint8)
    pixels[..., 1] = 0
    pixels[:10, :, 1] = 255
    seen = rgb(through_file(Image.fromarray(pixels, "LA"), "PNG"))
    assert (seen[:10] == 90).all()
    assert (seen[10:] == 255).all()


@pytest.mark.parametrize("transparent", [3, bytes([255, 255, 255, 0, 255])])
def test_a_transparent_palette_entry_is_white(transparent: int | bytes) -> None:
    image = Image.fromarray(np.repeat(np.arange(5, dtype=np.uint8), 80).reshape(20, 20), "P")
    palette = [10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3, 100, 110, 120]
    image.putpalette(palette)
    seen = rgb(through_file(image, "PNG", transparency=transparent))
    expected = np.array(palette).reshape(5, 3)
    expected[3] = 255
    np.testing.assert_array_equal(seen, expected[np.asarray(image)])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_white(mode: str) -> None:
    image = Image.new(mode, (20, 20), 70 if mode == "L" else (70, 70, 70))
    image.paste(30 if mode == "L" else (30, 30, 30), (0, 0, 20, 10))
    colour = 70 if mode == "L" else (70, 70, 70)
    seen = rgb(through_file(image, "PNG", transparency=colour))
    assert (seen[:10] == 30).all()
    assert (seen[10:] == 255).all()


@pytest.mark.parametrize("limit", [89_000_000, None, 5])
def test_what_the_user_told_pillow_is_restored(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    filters = list(warnings.filters)
    with strict_pillow(), strict_pillow():
        assert Image.MAX_IMAGE_PIXELS is None
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        warnings.warn("would be an error here", stacklevel=1)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert warnings.filters == filters


def test_threads_that_overlap_leave_the_settings_as_they_were() -> None:
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with strict_pillow():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with strict_pillow():
        thread.start()
        inside.wait()
    still_set = Image.MAX_IMAGE_PIXELS is None  # the other one still decodes
    leave.set()
    thread.join()
    assert still_set
    assert before == Image.MAX_IMAGE_PIXELS
    assert warnings.filters == filters


def test_settings_are_restored_after_an_error() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(KeyError), strict_pillow():
        raise KeyError
    assert before == Image.MAX_IMAGE_PIXELS
