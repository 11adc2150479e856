"""Every recipe: described, valid, and with a baseline."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from patchwise.configs.backbone import vit_config
from patchwise.configs.loader import dump_toml, read_config
from patchwise.errors import ChoiceError
from patchwise.recipes import DESCRIPTIONS, RECIPES, Facts, make_config

ALL_FACTS = [
    Facts(images, side_px, device)
    for images in (1, 100, 5_000, 1_281_167)
    for side_px in (32, 64, 100, 256, 2000)
    for device in ("cpu", "cuda")
]


def facts_for(recipe: str) -> list[Facts]:
    """Return facts that a recipe may meet; the published ones follow from the device only."""
    if recipe.startswith(("small", "demo")):
        return ALL_FACTS
    if recipe == "cotap-small":  # which needs weights
        given = vit_config("tiny", patch_px=16, image_px=224)
        return [replace(facts, init=given) for facts in ALL_FACTS]
    return [facts for facts in ALL_FACTS if (facts.images, facts.short_side_px) == (5_000, 256)]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_is_described_valid_and_survives_a_file(recipe: str, tmp_path: Path) -> None:
    assert DESCRIPTIONS.keys() == RECIPES.keys()
    for facts in facts_for(recipe):
        config = make_config(recipe, facts)
        assert config.recipe == recipe
        assert config.train.device == facts.device
        views, patch_px = config.method.views, config.backbone.patch_px
        assert views.global_px % patch_px == views.local_px % patch_px == 0
        assert facts.init is not None or config.backbone.image_px == views.global_px
        (tmp_path / "config.toml").write_text(dump_toml(config))
        assert read_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    "recipe", ["small", *sorted(name for name in RECIPES if name.startswith("pwself"))]
)
def test_the_baseline_is_the_same_but_for_the_method(recipe: str) -> None:
    baseline = "small-dino" if recipe == "small" else recipe.replace("pwself", "dino")
    for facts in (Facts(1_000, 256, "cpu"), Facts(50_000, 32, "cuda", batch=16, epochs=20.0)):
        pwself, dino = make_config(recipe, facts), make_config(baseline, facts)
        assert (pwself.method.name, dino.method.name) == ("pwself", "dino")
        assert replace(dino, recipe=recipe, method=pwself.method) == pwself
        shared, all_options = asdict(dino.method), asdict(pwself.method)
        assert {name: all_options[name] for name in shared} == shared | {"name": "pwself"}


def test_no_baseline_is_without_its_recipe() -> None:
    dino = {name for name in RECIPES if name.startswith("dino")}
    assert {name.replace("dino", "pwself") for name in dino} <= RECIPES.keys()
    assert len(dino) == len([name for name in RECIPES if name.startswith("pwself")])


@pytest.mark.bad_input
def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    with pytest.raises(ChoiceError, match="got 'smal'; did you mean 'small'"):
        make_config("smal", Facts(1, 64, "cpu"))
