"""Views by Pillow: of the right size, of the right place, patches apart from each other."""

from random import Random

import numpy as np
import pytest
import torch
from benchmarks.reference_views import (
    build_reference_views,
    draw_box,
    make_view,
    recolour_patches,
    turn_hue,
)
from benchmarks.setting import Setting
from PIL import Image

from patchwise.configs.views import PatchColourConfig, ViewsConfig

PLAIN = ViewsConfig(
    base_px=64,
    global_px=64,
    local_px=32,
    flip_prob=0.0,
    jitter_prob=0.0,
    grayscale_prob=0.0,
    blur_probs=(0.0, 0.0, 0.0),
    solarise_probs=(0.0, 0.0, 0.0),
)


def noise(side_px: int = 64) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("recolour", [False, True])
def test_a_batch_has_all_views_of_all_images(recolour: bool) -> None:
    views = build_reference_views(Setting(batch=2, local_count=1, recolour_patches=recolour))()
    assert isinstance(views, list)
    shapes = [tuple(view.shape) for view in views]
    assert shapes == [(2, 3, 224, 224), (2, 3, 224, 224), (2, 3, 96, 96)]
    assert all(torch.isfinite(view).all() for view in views)


def test_without_changes_a_view_is_its_crop_and_a_flip_mirrors_it() -> None:
    whole = ViewsConfig(**{**vars(PLAIN), "global_area_frac": (1.0, 1.0), "aspect": (1.0, 1.0)})
    flipped = ViewsConfig(**{**vars(whole), "flip_prob": 1.0})
    view = make_view(noise(), 0, whole, Random(0))
    pixels = np.asarray(noise(), dtype=np.float32).transpose(2, 0, 1) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (pixels - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)
    assert torch.equal(make_view(noise(), 0, flipped, Random(0)), view.flip(-1))


@pytest.mark.parametrize("area_frac", [(0.05, 0.4), (0.4, 1.0)])
def test_boxes_lie_in_the_image_and_have_the_wanted_area(area_frac: tuple[float, float]) -> None:
    random = Random(0)
    for _ in range(200):
        left, top, right, bottom = draw_box((256, 256), area_frac, (3 / 4, 4 / 3), random)
        assert 0 <= left < right <= 256
        assert 0 <= top < bottom <= 256
        area = (right - left) * (bottom - top) / 256**2
        assert area_frac[0] * 0.95 <= area <= area_frac[1] * 1.05


def test_a_patch_is_recoloured_by_itself() -> None:
    """What is in one patch changes nothing in another."""
    picture, changed = noise(), noise()
    changed.paste((0, 0, 0), (0, 0, 16, 16))
    config = PatchColourConfig()
    a, b = (
        np.asarray(recolour_patches(p, config, 16, Random(3))).astype(int)
        for p in (picture, changed)
    )
    assert (a[:16, :16] != b[:16, :16]).any()
    assert (a[16:] == b[16:]).all()
    assert (a[:, 16:] == b[:, 16:]).all()
    tiles = np.asarray(picture).astype(int).reshape(4, 16, 4, 16, 3)
    assert (a.reshape(4, 16, 4, 16, 3) != tiles).any(axis=(1, 3, 4)).all()


def test_patches_that_nothing_changes_stay_where_they_are() -> None:
    config = PatchColourConfig(
        brightness=0.0, hue=0.0, blur_sigma_px=(0.1, 0.1), sharpness_prob=0.0, posterise_prob=0.0
    )
    same = recolour_patches(noise(), config, 16, Random(0))
    assert np.array_equal(np.asarray(same), np.asarray(noise()))


def test_a_third_of_a_turn_makes_red_green() -> None:
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert np.asarray(turn_hue(red, 1 / 3))[0, 0].tolist() == pytest.approx([0, 255, 0], abs=8)
    assert np.asarray(turn_hue(red, -1 / 3))[0, 0].tolist() == pytest.approx([0, 0, 255], abs=8)
