"""Random parts of images: where they lie, and that labels stay with their pixels."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchwise.errors import RangeError
from patchwise.eval.crops import Crop, CropRange, LabelledCrops
from tests.eval.sources import Coordinates

RANGE = CropRange((0.64, 1.0), (3 / 4, 4 / 3), 0.5)
IDS = np.arange(4)


def crops_of(size: tuple[int, int], count: int = 400, **changed: Any) -> list[Crop]:
    """Many crops of one image."""
    values: dict[str, Any] = {
        "area_frac": (0.64, 1.0),
        "aspect": (3 / 4, 4 / 3),
        "flip_prob": 0.5,
    } | changed
    crops = CropRange(**values)
    return [crops.place(size, draw) for draw in crops.draw(np.arange(count), seed=0, epoch=0)]


def shape(crop: Crop) -> tuple[float, float]:
    left, top, right, bottom = crop.box
    return bottom - top, right - left


@pytest.mark.parametrize("size", [(48, 64), (100, 30), (7, 7)])
def test_they_lie_within_the_image_and_have_the_area_asked_for(size: tuple[int, int]) -> None:
    areas = []
    for crop in crops_of(size):
        left, top, right, bottom = crop.box
        assert 0 <= left < right <= size[1] + 1e-9
        assert 0 <= top < bottom <= size[0] + 1e-9
        height, width = shape(crop)
        areas.append(height * width / (size[0] * size[1]))
    assert 0.64 <= min(areas) + 1e-9 < 0.66
    assert 0.98 < max(areas) <= 1 + 1e-9
    assert 0.8 < np.mean(areas) < 0.84  # evenly between the limits


def test_aspects_are_log_uniform() -> None:
    logs = [np.log(w / h) for h, w in map(shape, crops_of((64, 64), area_frac=(0.2, 0.2)))]
    assert np.log(3 / 4) <= min(logs) < np.log(0.77)
    assert np.log(1.29) < max(logs) <= np.log(4 / 3) + 1e-9
    assert abs(np.mean(logs)) < 0.02


def test_they_lie_everywhere() -> None:
    crops = crops_of((100, 100), area_frac=(0.25, 0.25), aspect=(1.0, 1.0))
    for edge in (0, 1):
        starts = [crop.box[edge] for crop in crops]
        assert 0 <= min(starts) < 2
        assert 48 < max(starts) <= 50
        assert 23 < np.mean(starts) < 27
    assert abs(np.corrcoef([crop.box[:2] for crop in crops], rowvar=False)[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("flip_prob", "least", "most"), [(0.0, 0, 0), (0.25, 80, 120), (1.0, 400, 400)]
)
def test_as_many_are_mirrored_as_asked_for(flip_prob: float, least: int, most: int) -> None:
    assert least <= sum(crop.flipped for crop in crops_of((9, 9), flip_prob=flip_prob)) <= most


def test_a_whole_image_of_its_own_size_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    for flipped, expected in ((False, image), (True, image[:, ::-1])):
        cut = Crop((0, 0, 4, 6), flipped).cut(image, (6, 4), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(cut, expected)


def test_labels_stay_with_their_pixels() -> None:
    crops = LabelledCrops(RANGE, 64, 64, Image.Resampling.BICUBIC, seed=0)
    flipped = 0
    for epoch in range(10):
        pixels, labels = crops.read(Coordinates(), IDS, epoch=epoch)
        for image, label in zip(pixels.numpy(), labels.numpy(), strict=True):
            x = image[1].astype(float) / 3
            assert abs(x[:, 4:-4] - label[:, 4:-4]).max() < 2.5
            flipped += x[0, 0] > x[0, -1]
    assert 10 < flipped < 30


def test_images_and_labels_have_their_own_sizes() -> None:
    crops = LabelledCrops(RANGE, 24, 40, Image.Resampling.BILINEAR, seed=0)
    pixels, labels = crops.read(Coordinates(), IDS, epoch=0)
    assert pixels.shape == (4, 3, 24, 24)
    assert labels.shape == (4, 40, 40)


def test_the_filter_is_the_one_asked_for() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    crop = Crop((0, 0, 40, 40), flipped=False)
    for resampling in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        expected = np.array(Image.fromarray(noise).resize((20, 20), resampling))
        np.testing.assert_array_equal(crop.cut(noise, (20, 20), resampling), expected)


def test_a_crop_depends_on_image_epoch_and_seed_alone() -> None:
    first = RANGE.draw(IDS, seed=0, epoch=0)
    np.testing.assert_array_equal(RANGE.draw(IDS[::-1], seed=0, epoch=0), first[::-1])
    for other in (RANGE.draw(IDS, seed=1, epoch=0), RANGE.draw(IDS, seed=0, epoch=1)):
        assert (other != first).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"area_frac": (0.0, 1.0)}, r"area_frac\[0\] must be positive, got 0"),
        ({"area_frac": (0.5, 1.5)}, r"area_frac\[1\] must lie in \[0, 1\], got 1.5"),
        ({"area_frac": (0.5, 0.4)}, r"area_frac\[1\] must lie in \[0.5, inf\], got 0.4"),
        ({"aspect": (2.0, 1.0)}, r"aspect\[1\] must lie in \[2.0, inf\], got 1.0"),
        ({"flip_prob": 1.5}, r"flip_prob must lie in \[0, 1\], got 1.5"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RangeError, match=message):
        crops_of((8, 8), 1, **changed)
