"""From what a user asks to a plan: image sets, weights, and what does not go together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import patchwise
from patchwise.api.planning import (
    DEFAULT_RECIPE,
    HOUSEKEEPING,
    Images,
    Request,
    new_plan,
    stand_in_neighbours,
)
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.loader import apply_settings
from patchwise.errors import ConfigError
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.recipes import Facts, make_config
from patchwise.training.plan import Plan
from tests.api.cotap_runs import SETTINGS
from tests.small_runs import COTAP_CONFIG, PWSELF_CONFIG, small_filtered, small_vit


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "vit.safetensors"
    patchwise.save_backbone(small_vit(), path)
    return path


@pytest.fixture
def filtered(tmp_path: Path) -> Path:
    path = tmp_path / "filtered.safetensors"
    patchwise.save_backbone(small_filtered(), path)
    return path


def plan(
    init: Path | None,
    *,
    recipe: str = "cotap-small",
    objects: str | None = None,
    changed: Mapping[str, Any] | None = None,
) -> Plan:
    console = Console(quiet=True)
    settings = {**SETTINGS, **(changed or {})}
    return new_plan(Images.open("scenes:8", objects), Request(recipe, init, settings), console)


def test_one_image_set_feeds_every_input() -> None:
    images = Images.open("scenes:8", None)
    assert images.by_input("cotap") == {"scenes": images.main, "objects": images.main}
    assert images.by_input("pwself") == {"images": images.main}
    two = Images.open("scenes:8", "scenes:6")
    assert two.by_input("cotap") == {"scenes": two.main, "objects": two.objects}


def test_made_up_neighbours_are_other_images_of_the_same_set() -> None:
    found = stand_in_neighbours(Images.open("scenes:8", "scenes:6"), COTAP_CONFIG)
    for name, count in (("scenes", 8), ("objects", 6)):
        assert found[name].shape == (count, 1)
        assert found[name][:, 0].tolist() == [*range(1, count), 0]
    assert stand_in_neighbours(Images.open("scenes:8", None), PWSELF_CONFIG) == {}


def test_a_plan_of_cotap_begins_with_the_weights(weights: Path) -> None:
    found = plan(weights, objects="scenes:6")
    assert isinstance(found.initial, ViT)
    assert isinstance(found.config.method, CoTAPConfig)
    assert found.config.backbone == small_vit().config
    assert found.sources.keys() == found.neighbours.keys() == {"scenes", "objects"}
    assert np.array_equal(found.neighbours["objects"][:, 0], [1, 2, 3, 4, 5, 0])
    given = small_vit().state_dict()
    assert all((tensor == given[name]).all() for name, tensor in found.initial.state_dict().items())


def test_a_filter_goes_on_with_its_prototypes(filtered: Path) -> None:
    found = plan(filtered)
    assert isinstance(found.initial, FilteredViT)
    assert (found.initial.filter.prototypes == small_filtered().filter.prototypes).all()


def test_the_plan_is_described(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = Request("cotap-small", weights, SETTINGS)
    new_plan(Images.open("scenes:8", "scenes:6"), request, Console(soft_wrap=True, width=300))
    said = capsys.readouterr().out
    assert "6 images of scenes:6 for the images' head" in said
    assert "3 (filter), 8 (patches) and 8 (images) prototypes" in said


def test_an_epoch_ends_with_the_smaller_set_in_recipes_too(weights: Path) -> None:
    for data, objects in (("scenes:500", "scenes:300"), ("scenes:300", "scenes:500")):
        request = Request("cotap-small", weights, {})
        found = new_plan(Images.open(data, objects), request, Console(quiet=True))
        assert found.steps_per_epoch == 300 // found.config.train.batch
        assert 0.95 * 1500 < found.total_steps < 1.05 * 1500


def test_housekeeping_names_settings_that_there_are() -> None:
    config = make_config(DEFAULT_RECIPE, Facts(100, 64, "cpu"))
    for name in HOUSEKEEPING:
        part, key = name.split(".")
        value = getattr(getattr(config, part), key)
        assert apply_settings(config, {name: value}) == config


@pytest.mark.bad_input
def test_weights_that_cannot_be_continued_are_named(weights: Path, filtered: Path) -> None:
    with pytest.raises(ConfigError, match="init must be the weights that cotap is to improve"):
        plan(None)
    with pytest.raises(ConfigError, match=r"filter_prototypes' must be that of the weights, 3"):
        plan(filtered, changed={"method.filter_prototypes": 5})
    plain = {n: v for n, v in SETTINGS.items() if n.startswith(("train.", "data."))}
    for recipe in ("small", "small-dino"):
        request = Request(recipe, filtered, plain)
        with pytest.raises(ConfigError, match="init must be a plain ViT for PW-Self and DINO"):
            new_plan(Images.open("scenes:8", None), request, Console(quiet=True))
    with pytest.raises(ConfigError, match="use --recipe cotap-small"):
        plan(weights, recipe="cotap-vits16")


@pytest.mark.bad_input
def test_a_second_image_set_needs_a_method_that_uses_it() -> None:
    with pytest.raises(ConfigError, match=r"objects must be left out with the method pwself.*:6"):
        Images.open("scenes:8", "scenes:6").by_input("pwself")
