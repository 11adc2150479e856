"""What is said of a CoTAP run before it is begun."""

from dataclasses import replace
from typing import Any

import pytest

from patchwise.api.planning import Images, stand_in_neighbours
from patchwise.api.post_training import check_post_training, note_on_prototypes
from patchwise.configs.run import RunConfig
from patchwise.data.source import open_source
from patchwise.errors import ConfigError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.training.plan import Plan, make_plan
from tests.small_runs import COTAP_CONFIG, VIT, run_config, small_filtered, small_vit


def config_of(**method: Any) -> RunConfig:
    changed = replace(COTAP_CONFIG, **method)
    return replace(run_config(epochs=1.0), backbone=VIT, method=changed)


def plan_of(weights: ViT | FilteredViT, **method: Any) -> Plan:
    config, images = config_of(**method), Images.open("scenes:8", None)
    made_up = stand_in_neighbours(images, config.method)
    return make_plan(config, images.by_input("cotap"), weights, made_up)


def test_what_goes_together_is_let_through() -> None:
    three, two = open_source("scenes:3"), open_source("scenes:9")
    check_post_training(config_of(), {"scenes": three, "objects": two})
    check_post_training(config_of(ranking_cells=(5,), ranking_weight=0.0), {"scenes": three})
    check_post_training(run_config(), {"images": open_source("scenes:1")})


@pytest.mark.bad_input
def test_more_neighbours_than_other_images_are_refused_by_name() -> None:
    sources = {"scenes": open_source("scenes:9"), "objects": open_source("scenes:2")}
    with pytest.raises(ConfigError, match=r"k' must be less .* got 2 for 2 .*neighbours\.k=1$"):
        check_post_training(config_of(), sources)
    with pytest.raises(ConfigError, match="got 2 for 1 images of scenes:1; add images"):
        check_post_training(config_of(), {"scenes": open_source("scenes:1")})


@pytest.mark.bad_input
def test_more_cells_than_patches_are_refused_by_name() -> None:
    sources = {"scenes": open_source("scenes:9")}
    with pytest.raises(ConfigError, match=r"the 4 patches .* got 7; .*ranking_cells=\[2\]$"):
        check_post_training(config_of(ranking_cells=(2, 7)), sources)
    with pytest.raises(ConfigError, match=r"ranking_cells=\[4\]$"):
        check_post_training(config_of(ranking_cells=(7,)), sources)


@pytest.mark.bad_input
def test_a_second_image_set_for_nothing_is_refused_by_name() -> None:
    sources = {"scenes": open_source("scenes:8"), "objects": open_source("scenes:9")}
    alone = {"image_weight": 0.0, "neighbour_weight": 0.0}
    with pytest.raises(ConfigError, match=r"objects must be left out where .* got scenes:9$"):
        check_post_training(config_of(**alone), sources)
    check_post_training(config_of(**alone), dict.fromkeys(sources, sources["scenes"]))
    check_post_training(config_of(image_weight=0.0), sources)
    whole = {"dense_weight": 0.0, "ranking_weight": 0.0}
    with pytest.raises(ConfigError, match=r"as the data, where .* on scenes:8, got scenes:9$"):
        check_post_training(config_of(**whole), sources)
    check_post_training(config_of(dense_weight=0.0), sources)


def test_prototypes_that_would_stay_random_are_told_of() -> None:
    vit = small_vit()  # 2 steps of 4 images, as many neighbours, 2 views
    assert note_on_prototypes(plan_of(vit, bank_samples=32)) is None
    note = note_on_prototypes(plan_of(vit, bank_samples=33))
    assert note is not None
    assert "2 steps give 32 samples, and they are made of 33" in note
    assert "--set method.bank_samples=16" in note
    assert note_on_prototypes(plan_of(vit, bank_samples=33, filter_prototypes=0)) is None
    assert note_on_prototypes(plan_of(small_filtered(), bank_samples=33)) is None
