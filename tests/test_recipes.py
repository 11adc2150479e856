"""Named sets of settings."""

from pathlib import Path

import pytest
from PIL import Image

from patchwise.configs.backbone import vit_config
from patchwise.configs.loader import dump_toml, read_config
from patchwise.configs.methods import PWSelfConfig
from patchwise.data.source import open_source
from patchwise.errors import ChoiceError, DataError
from patchwise.recipes import DESCRIPTIONS, RECIPES, Device, Facts, make_config, read_facts

ALL_FACTS = [
    Facts(images, side_px, device)
    for images in (1, 100, 5_000, 1_281_167)
    for side_px in (32, 64, 100, 256, 2000)
    for device in ("cpu", "cuda")
]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_is_described_valid_and_survives_a_file(recipe: str, tmp_path: Path) -> None:
    assert DESCRIPTIONS.keys() == RECIPES.keys()
    for facts in ALL_FACTS:
        config = make_config(recipe, facts)
        assert config.recipe == recipe
        assert config.train.device == facts.device
        views, patch_px = config.method.views, config.backbone.patch_px
        assert views.global_px % patch_px == views.local_px % patch_px == 0
        assert config.backbone.image_px == views.global_px
        (tmp_path / "config.toml").write_text(dump_toml(config))
        assert read_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize("facts", ALL_FACTS)
def test_the_derived_recipe_fits_the_images(facts: Facts) -> None:
    config = make_config("small", facts)
    assert config.train.batch <= facts.images
    assert config.method.views.global_px <= max(32, facts.short_side_px + 40)
    assert 256 <= config.method.prototypes <= 65_536
    assert 0.9 <= config.method.teacher_momentum < 1
    assert config.optim.warmup_epochs < config.train.epochs


def test_what_the_user_chose_is_reckoned_with() -> None:
    chosen = make_config("small", Facts(1_000, 256, "cpu", batch=8, epochs=5.0))
    assert (chosen.train.batch, chosen.train.epochs) == (8, 5.0)
    assert chosen.optim.warmup_epochs < 1
    assert chosen.method.frozen_prototype_epochs < 1
    by_batch = make_config("small", Facts(1_000, 256, "cpu", batch=8))
    default = make_config("small", Facts(1_000, 256, "cpu"))
    assert by_batch.train.epochs < default.train.epochs  # as many steps, of fewer images


def test_more_images_get_more_prototypes_and_fewer_epochs() -> None:
    few, many = (make_config("small", Facts(n, 256, "cpu")) for n in (1_000, 100_000))
    assert few.method.prototypes < many.method.prototypes
    assert few.train.epochs > many.train.epochs


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("patch_px", "image_px"), [(16, 224), (14, 518), (8, 64)])
def test_views_fit_given_weights(patch_px: int, image_px: int, device: Device) -> None:
    init = vit_config("small", patch_px=patch_px, image_px=image_px)
    config = make_config("small", Facts(1_000, 256, device, init=init))
    views = config.method.views
    assert views.global_px % patch_px == views.local_px % patch_px == 0
    assert views.local_px < views.global_px <= image_px
    assert config.backbone.patch_px == patch_px


@pytest.mark.parametrize(
    ("recipe", "prototypes", "batch", "patch_colour"),
    [
        ("pwself-cifar10", 1_000, 40, False),
        ("pwself-imagenet100", 10_000, 30, True),
        ("pwself-imagenet100-b8", 10_000, 6, False),
        ("pwself-imagenet100-tiny", 1_000, 90, False),
        ("pwself-imagenet1k", 65_536, 4, False),
        ("pwself-imagenet1k-tiny", 65_536, 8, False),
    ],
)
def test_the_papers_settings(recipe: str, prototypes: int, batch: int, patch_colour: bool) -> None:
    """arXiv:2310.18651 and its published configurations."""
    config = make_config(recipe, Facts(50_000, 32, "cuda"))
    method, views = config.method, config.method.views
    assert (method.prototypes, config.train.batch) == (prototypes, batch)
    assert isinstance(method, PWSelfConfig)
    assert method.recolour_patches == patch_colour
    assert method.matching == "thinned"
    assert config.train.epochs == (120 if patch_colour else 100)
    assert (views.base, views.base_px, views.global_px, views.local_px) == ("square", 256, 224, 96)
    assert (views.local_count, views.global_area_frac) == (8, (0.4, 1.0))
    assert (method.student_temperature, method.teacher_temperature) == (0.1, 0.04)
    assert (method.teacher_momentum, method.centre_momentum) == (0.996, 0.9)
    assert (config.optim.lr_per_256, config.optim.final_lr) == (5e-4, 1e-6)
    assert (config.optim.weight_decay, config.optim.final_weight_decay) == (0.04, 0.4)
    assert (config.optim.warmup_epochs, config.optim.clip_norm) == (10.0, 3.0)
    assert config.backbone.drop_path == 0.1


@pytest.mark.parametrize("recipe", ["small", "demo"])
def test_our_own_recipes_match_the_nearest_patches(recipe: str) -> None:
    method = make_config(recipe, Facts(1_000, 256, "cpu")).method
    assert isinstance(method, PWSelfConfig)
    assert method.matching == "nearest"


def test_dino_is_the_same_but_for_the_method() -> None:
    facts = Facts(1_000, 256, "cpu")
    dino, pwself = make_config("small-dino", facts), make_config("small", facts)
    assert dino.method.name == "dino"
    assert (dino.backbone, dino.optim, dino.train) == (
        pwself.backbone,
        pwself.optim,
        pwself.train,
    )
    assert dino.method.views == pwself.method.views


def test_facts_are_read_off_the_images(tmp_path: Path) -> None:
    for index, size in enumerate([(40, 80), (60, 50), (90, 300)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").touch()
    assert read_facts(open_source(tmp_path), "cpu") == Facts(4, 50, "cpu")


@pytest.mark.bad_input
def test_a_folder_of_broken_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").touch()
    with pytest.raises(DataError, match=r"must hold readable images, got none among the 1 tried"):
        read_facts(open_source(tmp_path), "cpu")


@pytest.mark.bad_input
def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    with pytest.raises(ChoiceError, match="got 'smal'; did you mean 'small'"):
        make_config("smal", Facts(1, 64, "cpu"))
