"""Options of views: documented, of the papers' values, and checked."""

import dataclasses
from typing import Any

import pytest

from patchwise.configs.views import (
    MultiCropConfig,
    OverlappingViewsConfig,
    PatchColourConfig,
    ViewsConfig,
    fit_to_patches,
    nearest_side,
)
from patchwise.errors import RangeError

CONFIGS = [MultiCropConfig, ViewsConfig, OverlappingViewsConfig, PatchColourConfig]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_option_has_a_default_and_help(config: type[Any]) -> None:
    for field in dataclasses.fields(config):
        assert field.default is not dataclasses.MISSING
        assert field.metadata["help"].endswith(".")


def test_defaults_are_the_papers() -> None:
    """PW-Self, arXiv:2310.18651: the settings that are quoted most."""
    views, patch = ViewsConfig(), PatchColourConfig()
    assert (views.global_px, views.global_area_frac) == (224, (0.4, 1.0))
    assert (views.local_count, views.local_px, views.local_area_frac) == (8, 96, (0.05, 0.4))
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.4, 0.4, 0.2, 0.1)
    assert (views.blur_probs, views.solarise_probs) == ((1.0, 0.1, 0.5), (0.0, 0.2, 0.0))
    assert (patch.brightness, patch.hue, patch.sharpness, patch.posterise_bits) == (0.1, 0.1, 2, 3)


def test_defaults_of_overlapping_views_are_the_papers() -> None:
    """CoTAP, arXiv:2509.09429."""
    views = OverlappingViewsConfig()
    assert (views.global_px, views.global_area_frac) == (224, (0.25, 1.0))
    assert (views.local_count, views.local_px, views.local_area_frac) == (4, 96, (0.05, 0.1))
    assert (views.global_overlap_frac, views.local_overlap_frac) == (0.02, 0.01)
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.8, 0.8, 0.8, 0.2)
    assert (views.jitter_prob, views.grayscale_prob, views.blur_prob) == (0.8, 0.2, 0.5)
    assert (views.blur_window_px, views.blur_sigma_px) == (7, (0.1, 2.0))
    assert not hasattr(views, "flip_prob")


def test_sides_are_made_of_whole_patches() -> None:
    fitted = fit_to_patches(OverlappingViewsConfig(hue=0.1), 14)
    assert fitted == OverlappingViewsConfig(hue=0.1, local_px=98)
    assert fit_to_patches(ViewsConfig(global_px=230), 16) == ViewsConfig(global_px=224)
    assert [nearest_side(px, 14) for px in (1, 20, 22, 96, 224)] == [14, 14, 28, 98, 224]
    assert nearest_side(96, 8) == 96


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("base_px", 0, "base_px must be positive, got 0"),
        ("global_px", -1, "global_px must be positive, got -1"),
        ("local_px", 0, "local_px must be positive, got 0"),
        ("local_count", -1, "local_count must lie in"),
        ("global_area_frac", (0.4, 1.1), r"global_area_frac\[1\] must lie in \[0, 1\], got 1.1"),
        ("local_area_frac", (0.0, 0.4), r"local_area_frac\[0\] must be positive, got 0.0"),
        ("aspect", (0.0, 1.0), r"aspect\[0\] must be positive, got 0.0"),
        ("flip_prob", 1.5, r"flip_prob must lie in \[0, 1\], got 1.5"),
        ("jitter_prob", -0.5, "jitter_prob must lie in"),
        ("grayscale_prob", 2, "grayscale_prob must lie in"),
        ("blur_probs", (1.0, 0.1, 5.0), r"blur_probs\[2\] must lie in \[0, 1\], got 5.0"),
        ("solarise_probs", (-1.0, 0.2, 0.0), r"solarise_probs\[0\] must lie in"),
        ("brightness", -0.4, "brightness must lie in"),
        ("contrast", -0.4, "contrast must lie in"),
        ("saturation", -0.2, "saturation must lie in"),
        ("hue", 0.6, r"hue must lie in \[0, 0.5\], got 0.6"),
        ("blur_sigma_px", (-0.1, 2.0), r"blur_sigma_px\[0\] must lie in"),
    ],
)
def test_views_that_cannot_be_are_named(option: str, value: object, named: str) -> None:
    with pytest.raises(RangeError, match=f"^ViewsConfig: {named}"):
        ViewsConfig(**{option: value})  # type: ignore[arg-type]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("local_px", 0, "local_px must be positive, got 0"),
        ("hue", 0.6, r"hue must lie in \[0, 0.5\], got 0.6"),
        ("blur_prob", 1.5, r"blur_prob must lie in \[0, 1\], got 1.5"),
        ("blur_window_px", 6, "blur_window_px must be odd and positive, got 6"),
        ("blur_window_px", -1, "blur_window_px must be odd and positive, got -1"),
        ("global_overlap_frac", 0.3, r"global_overlap_frac must lie in \[0, 0.25\], got 0.3"),
        ("global_overlap_frac", 0.005, r"local_overlap_frac must lie in \[0, 0.005\], got 0.01"),
        ("local_overlap_frac", -0.1, r"local_overlap_frac must lie in \[0, 0.02\], got -0.1"),
        ("local_area_frac", (0.004, 0.1), r"local_overlap_frac must lie in \[0, 0.004\], got"),
    ],
)
def test_overlapping_views_that_cannot_be_are_named(option: str, value: object, named: str) -> None:
    with pytest.raises(RangeError, match=f"^OverlappingViewsConfig: {named}"):
        OverlappingViewsConfig(**{option: value})  # type: ignore[arg-type]


@pytest.mark.bad_input
def test_a_patch_without_extent_is_named() -> None:
    with pytest.raises(RangeError, match=r"^fit_to_patches: patch_px must be positive, got 0"):
        fit_to_patches(ViewsConfig(), 0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("brightness", -0.1, "brightness must lie in"),
        ("hue", -0.1, "hue must lie in"),
        ("blur_sigma_px", (0.1, -2.0), r"blur_sigma_px\[1\] must lie in"),
        ("sharpness", -1, "sharpness must lie in"),
        ("sharpness_prob", 1.5, "sharpness_prob must lie in"),
        ("posterise_prob", 1.5, "posterise_prob must lie in"),
        ("posterise_bits", 9, r"posterise_bits must lie in \[1, 8\], got 9"),
    ],
)
def test_patch_colours_that_cannot_be_are_named(option: str, value: object, named: str) -> None:
    with pytest.raises(RangeError, match=f"^PatchColourConfig: {named}"):
        PatchColourConfig(**{option: value})  # type: ignore[arg-type]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("config", "option", "pair"),
    [
        (ViewsConfig, "global_area_frac", (1.0, 0.4)),
        (ViewsConfig, "local_area_frac", (0.5, 0.1)),
        (ViewsConfig, "aspect", (2.0, 0.5)),
        (ViewsConfig, "blur_sigma_px", (2.0, 0.1)),
        (OverlappingViewsConfig, "local_area_frac", (0.5, 0.1)),
        (PatchColourConfig, "blur_sigma_px", (2.0, 0.1)),
    ],
)
def test_pairs_go_from_least_to_most(
    config: type[Any], option: str, pair: tuple[float, float]
) -> None:
    high, low = pair
    assert getattr(config(**{option: (low, high)}), option) == (low, high)
    assert getattr(config(**{option: (high, high)}), option) == (high, high)
    with pytest.raises(RangeError) as caught:
        config(**{option: pair})
    assert str(caught.value) == (
        f"{config.__name__}: {option} must be the least, then the most, "
        f"got [{high}, {low}]; swap them"
    )
