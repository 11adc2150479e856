"""From files of any kind to arrays and batches."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from patchwise.data.images import (
    FORMATS,
    ImageLimits,
    ImageProblem,
    ResizeRule,
    centre_crop,
    collate,
    decode_image,
    resize_image,
)
from patchwise.errors import ChoiceError, DataError, PatchwiseError, RangeError

LOSSLESS = ["PNG", "WEBP", "TIFF", "BMP"]


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """Return an image that lossy compression keeps."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y * 5, x * 4, 100 + y + x], axis=-1)
    return np.asarray(image.clip(0, 255), np.uint8)


def encoded(image: Image.Image | NDArray[np.uint8], file_format: str, **options: object) -> bytes:
    file = BytesIO()
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    if file_format == "WEBP":
        options["lossless"] = True
    image.save(file, file_format, **options)
    return file.getvalue()


def png_header(height: int, width: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def problem(data: bytes | Path, **options: object) -> ImageProblem:
    with pytest.raises(ImageProblem) as caught:
        decode_image(data if isinstance(data, Path) else BytesIO(data), name="x", **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_lossless_formats_come_back_as_they_were(file_format: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "wrong suffix.gif"
    path.write_bytes(encoded(image, file_format))
    decoded = decode_image(path)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, image)
    np.testing.assert_array_equal(decode_image(BytesIO(path.read_bytes())), image)


def test_jpeg_comes_back_almost_as_it_was() -> None:
    image = smooth(40, 60)
    decoded = decode_image(BytesIO(encoded(image, "JPEG", quality=95, subsampling=0)))
    np.testing.assert_allclose(decoded.astype(int), image, atol=4)


def test_every_orientation_of_a_jpeg_looks_the_same() -> None:
    image = smooth(40, 60)
    stored = {1: image, 3: image[::-1, ::-1], 6: np.rot90(image, 1), 8: np.rot90(image, -1)}
    stored |= {2: image[:, ::-1], 4: image[::-1], 5: image.swapaxes(0, 1)}
    stored |= {7: image[::-1, ::-1].swapaxes(0, 1)}
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(np.ascontiguousarray(pixels), "JPEG", quality=95, subsampling=0, exif=exif)
        decoded = decode_image(BytesIO(data)).astype(int)
        np.testing.assert_allclose(decoded, image, atol=5, err_msg=str(orientation))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_many_frames_counts(file_format: str) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (20, 20), colour) for colour in colours]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert (decode_image(BytesIO(data)) == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
    ],
)
def test_modes_become_rgb(mode: str, colour: int, seen: tuple[int, ...]) -> None:
    data = encoded(Image.new(mode, (20, 20), colour), "TIFF")
    assert (decode_image(BytesIO(data)) == seen).all()


def test_a_cmyk_jpeg_is_not_negative() -> None:
    data = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=95)
    np.testing.assert_allclose(decode_image(BytesIO(data)).mean((0, 1)), [255, 0, 0], atol=4)


def test_16_bit_images_are_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    decoded = decode_image(BytesIO(encoded(Image.fromarray(values), "PNG")))
    np.testing.assert_array_equal(decoded[..., 0], np.round(values / 257))


@pytest.mark.parametrize("name", ["with space.png", "日本 ü.png", "new\nline.png", "100%.png"])
def test_any_file_name_can_be_read(name: str, tmp_path: Path) -> None:
    image = smooth(20, 30)
    (tmp_path / name).write_bytes(encoded(image, "PNG"))
    np.testing.assert_array_equal(decode_image(tmp_path / name), image)


@pytest.mark.bad_input
def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    caught = problem(tmp_path / "none.jpg")
    assert caught.reason == "unreadable"
    assert str(caught) == "decode_image: 'x' must be a readable file, got No such file or directory"


@pytest.mark.bad_input
def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    assert problem(tmp_path).reason == "unreadable"


@pytest.mark.bad_input
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(smooth(20, 20), "PNG"))
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        assert problem(path).reason == "unreadable"
        assert "Permission denied" in str(problem(path))
    else:
        pytest.skip("this user may read everything")


@pytest.mark.bad_input
def test_the_name_in_a_message_is_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("This is text.")
    with pytest.raises(ImageProblem) as caught:
        decode_image(path)
    assert str(caught.value) == (
        f"decode_image: {str(path)!r} must be one of {', '.join(FORMATS)}, "
        f"got other content or a rare kind of these"
    )
    assert caught.value.reason == "unreadable"


@pytest.mark.bad_input
def test_formats_that_are_not_listed_are_unreadable() -> None:
    data = encoded(smooth(20, 20), "PPM")
    assert problem(data).reason == "unreadable"


@pytest.mark.bad_input
def test_zero_bytes_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    caught = problem(tmp_path / "a.png")
    assert caught.reason == "empty"
    assert str(caught) == "decode_image: 'x' must hold an image, got 0 bytes"


@pytest.mark.bad_input
@pytest.mark.parametrize("file_format", [*LOSSLESS, "JPEG", "GIF"])
def test_half_a_file_is_truncated(file_format: str) -> None:
    data = encoded(
        np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8), file_format
    )
    caught = problem(data[: len(data) // 2])
    assert caught.reason == "truncated"
    assert "'x' must be a whole image, got one that is cut short or damaged (" in str(caught)


@pytest.mark.parametrize("file_format", [*LOSSLESS, "JPEG", "GIF"])
def test_a_cut_file_is_refused_or_complete(file_format: str) -> None:
    """No cut may pass as another image; what follows the last pixel may be missing."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    data = encoded(noise, file_format)
    whole = decode_image(BytesIO(data))
    cuts = [*range(0, len(data) - 40, 9), *range(len(data) - 40, len(data))]
    for cut in cuts:
        try:
            decoded = decode_image(BytesIO(data[:cut]))
        except ImageProblem:
            continue
        np.testing.assert_array_equal(decoded, whole)


@settings(max_examples=150, deadline=None)
@given(
    file_format=st.sampled_from([*LOSSLESS, "JPEG", "GIF"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_never_raises_anything_else(
    file_format: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(smooth(20, 24), file_format))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        decoded = decode_image(BytesIO(bytes(data)), limits=ImageLimits(max_pixels=10_000))
    except ImageProblem:
        return
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3


@pytest.mark.bad_input
def test_a_decompression_bomb_is_enormous() -> None:
    caught = problem(png_header(60_000, 60_000))
    assert caught.reason == "enormous"
    assert str(caught) == (
        "decode_image: 'x' must have at most 200000000 pixels, got 60000 x 60000"
    )


def test_pillows_own_limit_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode_image(BytesIO(encoded(smooth(20, 20), "PNG"))).shape == (20, 20, 3)
    assert problem(png_header(10_000, 12_000)).reason == "truncated"  # not "enormous"


@pytest.mark.bad_input
def test_the_limit_of_pixels_is_exact() -> None:
    data = encoded(smooth(20, 30), "PNG")
    assert decode_image(BytesIO(data), limits=ImageLimits(max_pixels=600)).shape == (20, 30, 3)
    assert problem(data, limits=ImageLimits(max_pixels=599)).reason == "enormous"


@pytest.mark.bad_input
@pytest.mark.parametrize("size", [(15, 400), (400, 15), (1, 1)])
def test_a_short_side_is_tiny(size: tuple[int, int]) -> None:
    caught = problem(encoded(np.zeros((*size, 3), np.uint8), "PNG"))
    assert caught.reason == "tiny"
    assert str(caught) == (
        f"decode_image: 'x' must have sides of at least 16 px, got {size[0]} x {size[1]}"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("size", [(20, 3000), (3000, 20), (16, 12_000_000)])
def test_a_long_strip_is_elongated_before_it_is_decoded(size: tuple[int, int]) -> None:
    caught = problem(png_header(*size))  # its pixels are missing: decoding says "truncated"
    assert caught.reason == "elongated"
    assert str(caught) == (
        f"decode_image: 'x' must have a long side of at most 8 times the short one, "
        f"got {size[0]} x {size[1]}; cut it into shorter pieces"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("turned", [False, True])
def test_the_limit_of_the_aspect_is_exact(turned: bool) -> None:
    def png(height: int, width: int) -> bytes:
        shape = (width, height, 3) if turned else (height, width, 3)
        return encoded(np.zeros(shape, np.uint8), "PNG")

    assert decode_image(BytesIO(png(16, 128))).size == 16 * 128 * 3
    assert problem(png(16, 129)).reason == "elongated"
    limits = ImageLimits(max_aspect=1.5)
    assert decode_image(BytesIO(png(20, 30)), limits=limits).size == 20 * 30 * 3
    assert problem(png(20, 31), limits=limits).reason == "elongated"


def test_the_shortest_side_is_exact() -> None:
    data = encoded(np.zeros((16, 16, 3), np.uint8), "PNG")
    assert decode_image(BytesIO(data)).shape == (16, 16, 3)
    data = encoded(np.zeros((3, 4, 3), np.uint8), "PNG")
    assert decode_image(BytesIO(data), limits=ImageLimits(min_side_px=3)).shape == (3, 4, 3)


@pytest.mark.bad_input
def test_problems_are_patchwise_errors() -> None:
    assert issubclass(ImageProblem, DataError)
    assert issubclass(ImageProblem, PatchwiseError)


@pytest.mark.bad_input
def test_limits_must_be_positive() -> None:
    with pytest.raises(RangeError, match="ImageLimits: max_pixels must be positive, got 0"):
        ImageLimits(max_pixels=0)
    with pytest.raises(RangeError, match="ImageLimits: min_side_px must be positive, got -1"):
        ImageLimits(min_side_px=-1)


@pytest.mark.bad_input
@pytest.mark.parametrize("aspect", [0.99, float("nan")])
def test_the_limit_of_the_aspect_must_let_squares_pass(aspect: float) -> None:
    assert ImageLimits(max_aspect=1.0).max_aspect == 1
    with pytest.raises(RangeError) as caught:
        ImageLimits(max_aspect=aspect)
    assert str(caught.value) == f"ImageLimits: max_aspect must lie in [1, inf], got {aspect}"


@pytest.mark.parametrize(
    ("size", "expected"),
    [((40, 60), (20, 30)), ((60, 40), (30, 20)), ((20, 90), (20, 90)), ((19, 19), (19, 19))],
)
def test_the_short_side_is_shrunk_and_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = smooth(*size)
    resized = resize_image(image, ResizeRule(base_px=20))
    assert resized.shape == (*expected, 3)
    if size == expected:
        np.testing.assert_array_equal(resized, image)


@pytest.mark.parametrize("size", [(40, 60), (10, 90), (20, 20)])
def test_square_is_always_square(size: tuple[int, int]) -> None:
    resized = resize_image(smooth(*size), ResizeRule(base="square", base_px=20))
    assert resized.shape == (20, 20, 3)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    inside = resize_image(stripes, ResizeRule(base_px=16))[:, 2:-2]
    np.testing.assert_allclose(inside, 127.5, atol=3)


def test_resizing_keeps_places() -> None:
    """A ramp stays a ramp: pixel i of n shows the value at (i + 0.5) / n."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3)).copy()
    resized = resize_image(ramp, ResizeRule(base_px=50))
    expected = (np.arange(100) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(resized[:, 4:-4, 0], np.tile(expected[4:-4], (50, 1)), atol=1)


@pytest.mark.bad_input
def test_resize_rules_are_checked() -> None:
    with pytest.raises(RangeError, match="ResizeRule: base_px must be positive, got 0"):
        ResizeRule(base_px=0)
    with pytest.raises(ChoiceError, match="ResizeRule: base must be one of short, square, got 'x'"):
        ResizeRule(base_px=8, base="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (20, 50)])
def test_the_centre_is_cut_from_the_resized_image(size: tuple[int, int]) -> None:
    """Torchvision's Resize(32) and CenterCrop(24), written out."""
    image = smooth(*size)
    height, width = (int(32 * side / min(size)) for side in size)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - 24) / 2.0), round((width - 24) / 2.0)
    expected = np.asarray(resized)[top : top + 24, left : left + 24]
    np.testing.assert_array_equal(centre_crop(image, resize_px=32, crop_px=24), expected)


def test_labels_are_cropped_where_their_image_is() -> None:
    label = np.array([[0, 3], [7, 255]], np.uint8).repeat(20, axis=0).repeat(15, axis=1)
    found = centre_crop(label, resize_px=15, crop_px=14, resampling=Image.Resampling.NEAREST)
    image = centre_crop(np.stack([label] * 3, axis=-1), resize_px=15, crop_px=14)
    assert set(np.unique(found)) == {0, 3, 7, 255}
    assert found.shape == (14, 14)
    far = np.abs(image[..., 0].astype(int) - found) < 40
    assert far.mean() > 0.8


@pytest.mark.bad_input
def test_the_crop_must_fit() -> None:
    with pytest.raises(RangeError, match=r"centre_crop: crop_px must lie in \[1, 8\], got 9"):
        centre_crop(smooth(20, 20), resize_px=8, crop_px=9)


def test_a_batch_is_padded_to_its_largest_image() -> None:
    images = [smooth(20, 30), smooth(25, 10), 255 - smooth(3, 4)]
    batch = collate(images, [7, 2, 9], epoch=5)
    assert batch.pixels.shape == (3, 3, 25, 30)
    assert batch.pixels.dtype == torch.uint8
    assert batch.sizes.tolist() == [[20, 30], [25, 10], [3, 4]]
    assert batch.ids.tolist() == [7, 2, 9]
    assert batch.epoch == 5
    for row, image in zip(batch.pixels, images, strict=True):
        height, width = image.shape[:2]
        np.testing.assert_array_equal(row[:, :height, :width].permute(1, 2, 0), image)
        assert int(row.sum(dtype=torch.int64)) == int(image.sum(dtype=np.int64))


def test_a_read_only_image_can_be_collated() -> None:
    image = smooth(20, 30)
    image.setflags(write=False)
    assert collate([image], [0], epoch=0).pixels.shape == (1, 3, 20, 30)


@pytest.mark.bad_input
@pytest.mark.parametrize("ids", [[], [1, 2]])
def test_images_and_ids_must_be_as_many(ids: list[int]) -> None:
    with pytest.raises(DataError, match=f"at least one, got 1 images and {len(ids)} ids"):
        collate([smooth(20, 20)], ids, epoch=0)
    with pytest.raises(DataError, match="collate: images and ids must be as many"):
        collate([], [], epoch=0)
