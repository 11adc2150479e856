"""Settings of CoTAP: the paper's defaults, what is refused, what weights of 0 switch off."""

import dataclasses
from typing import Any

import pytest

from patchwise.configs.cotap import CoTAPConfig
from patchwise.errors import PatchwiseError


def test_defaults_are_the_papers() -> None:
    """Source: arXiv:2509.09429 and its published configurations."""
    config = CoTAPConfig()
    weights = [getattr(config, f.name) for f in dataclasses.fields(config) if "_weight" in f.name]
    assert weights == [1.0, 1.0, 1.0, 1.0, 1.0, 0.1]  # the last: of pairs that do not match
    assert (config.filter_prototypes, config.bank_samples) == (64, 1024)
    assert config.bank_samples_per_step == 32
    assert (config.patch_prototypes, config.image_prototypes) == (512, 4096)
    assert (config.head_hidden_dim, config.bottleneck_dim) == (2048, 256)
    assert config.head_rate_scale == 10
    assert (config.patch_temperature, config.image_temperature) == (0.05, 0.07)
    assert (config.student_temperature, config.neighbour_student_temperature) == (0.1, 0.2)
    assert config.sinkhorn_iterations == 3
    assert (config.queued_patches, config.queued_patches_per_step) == (262_144, 2048)
    assert (config.queued_images, config.queued_images_per_step) == (32_768, 100)
    assert (config.foreground_frac, config.region_cells) == (0.6, 6)
    assert (config.ranking_cells, config.ranked_cells, config.strangers) == ((7, 14), 5, 5)
    assert (config.tau, config.similarity_threshold, config.surrogate) == (0.5, -0.2, "huber")
    assert (config.teacher_momentum, config.final_teacher_momentum) == (0.9997, 0.9999)
    views = config.views
    assert (views.global_px, views.local_px, views.local_count) == (224, 96, 4)
    assert (views.global_area_frac, views.local_area_frac) == ((0.25, 1.0), (0.05, 0.1))
    assert (views.global_overlap_frac, views.local_overlap_frac) == (0.02, 0.01)
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.8, 0.8, 0.8, 0.2)
    assert (views.jitter_prob, views.grayscale_prob, views.blur_prob) == (0.8, 0.2, 0.5)
    assert (views.blur_window_px, views.blur_sigma_px) == (7, (0.1, 2.0))


def test_options_beyond_the_paper_are_off() -> None:
    config = CoTAPConfig()
    assert config.copy_prototypes, "the one that is on"
    assert not config.rank_all_processes
    assert config.refresh_neighbours_epochs == 0
    assert config.views_per_pass == 0


def test_every_option_has_help() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(CoTAPConfig))


@pytest.mark.parametrize(
    ("patches", "images", "off"),
    [
        (True, True, ()),
        (True, True, ("dense", "neighbour")),
        (True, True, ("ranking", "image")),
        (False, True, ("dense", "ranking")),
        (True, False, ("image", "neighbour", "prototype")),
    ],
)
def test_a_branch_is_trained_while_a_part_of_it_has_weight(
    patches: bool, images: bool, off: tuple[str, ...]
) -> None:
    weights: dict[str, Any] = {f"{part}_weight": 0.0 for part in off}
    config = CoTAPConfig(**weights)
    assert (config.trains_patches, config.trains_images) == (patches, images)


def test_cells_may_be_as_many_as_two_views_have() -> None:
    assert CoTAPConfig(ranking_cells=(2, 9), ranked_cells=8).ranked_cells == 8
    assert CoTAPConfig(ranking_cells=(1,), ranked_cells=0).ranked_cells == 0
    assert CoTAPConfig(filter_prototypes=8, bank_samples=8).bank_samples == 8
    assert CoTAPConfig(filter_prototypes=0, bank_samples=1).filter_prototypes == 0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"patch_temperature": 0.0}, "patch_temperature must be positive, got 0.0"),
        ({"image_temperature": -1.0}, "image_temperature must be positive"),
        ({"student_temperature": 0.0}, "student_temperature must be positive"),
        ({"neighbour_student_temperature": 0.0}, "neighbour_student_temperature must be positive"),
        ({"sinkhorn_iterations": 0}, "sinkhorn_iterations must be positive"),
        ({"queued_patches": 0}, "queued_patches must be positive"),
        ({"queued_images": 0}, "queued_images must be positive"),
        ({"queued_patches_per_step": 0}, "queued_patches_per_step must be positive"),
        ({"queued_images_per_step": 0}, "queued_images_per_step must be positive"),
        ({"bank_samples_per_step": 0}, "bank_samples_per_step must be positive"),
        ({"patch_prototypes": 0}, "patch_prototypes must be positive"),
        ({"image_prototypes": 0}, "image_prototypes must be positive"),
        ({"head_rate_scale": 0.0}, "head_rate_scale must be positive"),
        ({"region_cells": 0}, "region_cells must be positive"),
        ({"tau": 0.0}, "tau must be positive"),
        ({"foreground_frac": 0.0}, "foreground_frac must be positive"),
        ({"foreground_frac": 1.1}, r"foreground_frac must lie in \[0.0, 1.0\], got 1.1"),
        ({"nonmatch_weight": -0.1}, "nonmatch_weight must lie in"),
        ({"teacher_momentum": 1.1}, "teacher_momentum must lie in"),
        ({"final_teacher_momentum": -1.0}, "final_teacher_momentum must lie in"),
        ({"dense_weight": -1.0}, "dense_weight must lie in"),
        ({"image_weight": -1.0}, "image_weight must lie in"),
        ({"neighbour_weight": -1.0}, "neighbour_weight must lie in"),
        ({"ranking_weight": -1.0}, "ranking_weight must lie in"),
        ({"prototype_weight": -1.0}, "prototype_weight must lie in"),
        ({"strangers": -1}, "strangers must lie in"),
        ({"views_per_pass": -1}, "views_per_pass must lie in"),
        ({"refresh_neighbours_epochs": -0.5}, "refresh_neighbours_epochs must lie in"),
        ({"similarity_threshold": -1.5}, "similarity_threshold must lie in"),
        ({"surrogate": "square"}, "surrogate must be one of"),
        ({"ranking_cells": ()}, r"ranking_cells must name at least one number, got \(\)"),
        ({"ranking_cells": (3, 0)}, r"ranking_cells\[1\] must be positive, got 0"),
        ({"ranking_cells": (9, 2), "ranked_cells": 9}, r"ranked_cells must lie in \[0, 8\], got 9"),
        ({"ranked_cells": -1}, "ranked_cells must lie in"),
        ({"bank_samples": 7, "filter_prototypes": 8}, r"filter_prototypes must lie in \[1, 7\]"),
        ({"filter_prototypes": -1}, "filter_prototypes must lie in"),
        (
            dict.fromkeys(
                ("dense_weight", "ranking_weight", "image_weight", "neighbour_weight"), 0.0
            ),
            "dense_weight, image_weight, neighbour_weight or ranking_weight must be above 0",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_impossible_settings_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchwiseError, match=f"^CoTAPConfig: {message}"):
        CoTAPConfig(**changed)
