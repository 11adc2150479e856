"""CoTAP's recipes: the published numbers, and what is derived for given weights and images."""

import pytest

from patchwise.configs.backbone import ViTConfig, vit_config
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.run import RunConfig
from patchwise.errors import ConfigError
from patchwise.recipes import RECIPES, Device, Facts, make_config

FACTS = Facts(118_287, 480, "cuda")
# dim, depth, heads, patch_px, images a step over all processes, steps
PUBLISHED = {
    "cotap-vits16": (384, 12, 6, 16, 4 * 28, 240_000),
    "cotap-vitb16": (768, 12, 12, 16, 8 * 16, 210_000),
    "cotap-vitb8": (768, 12, 12, 8, 8 * 8, 210_000),
}


def cotap_of(config: RunConfig) -> CoTAPConfig:
    assert isinstance(config.method, CoTAPConfig)
    return config.method


def test_every_published_run_is_held_against_the_paper() -> None:
    assert {name for name in RECIPES if name.startswith("cotap")} == {*PUBLISHED, "cotap-small"}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_published_runs(recipe: str) -> None:
    """Source: arXiv:2509.09429 and its published configurations."""
    dim, depth, heads, patch_px, batch, steps = PUBLISHED[recipe]
    config = make_config(recipe, FACTS)
    vit, optim = config.backbone, config.optim
    assert (config.recipe, config.method) == (recipe, CoTAPConfig())
    assert (vit.dim, vit.depth, vit.heads, vit.patch_px) == (dim, depth, heads, patch_px)
    assert (vit.drop_path, optim.clip_norm, optim.warmup_epochs) == (0.0, 0.0, 0.0)
    assert optim.lr_per_256 * batch / 256 == pytest.approx(3e-5)
    assert optim.lr_per_256 * batch / 256 * cotap_of(config).head_rate_scale == pytest.approx(3e-4)
    assert optim.final_lr == pytest.approx(3e-6)
    assert (optim.weight_decay, optim.final_weight_decay) == (0.024, 0.24)
    assert (config.train.batch, config.train.precision) == (batch, "bf16")
    assert config.train.epochs * FACTS.images / batch == pytest.approx(steps)


def test_a_published_run_may_be_shorter_with_fewer_images_a_step() -> None:
    config = make_config("cotap-vits16", Facts(1_000, 480, "cpu", batch=8))
    assert config.train.batch == 8
    assert config.train.epochs * 1_000 / 8 == pytest.approx(240_000)
    whole = make_config("cotap-vits16", FACTS).optim
    assert config.optim.lr_per_256 == pytest.approx(whole.lr_per_256)
    assert config.optim.final_lr == pytest.approx(whole.final_lr * 8 / 112)
    assert make_config("cotap-vits16", Facts(1_000, 480, "cpu", epochs=3.0)).train.epochs == 3


def test_given_weights_of_that_size_are_taken_as_they_are() -> None:
    given = ViTConfig(dim=384, depth=12, heads=6, drop_path=0.3, interpolation="size", registers=4)
    vit = make_config("cotap-vits16", Facts(1_000, 480, "cpu", init=given)).backbone
    assert (vit.registers, vit.interpolation, vit.drop_path) == (4, "size", 0.0)


ALL_FACTS = [
    Facts(images, side_px, device, init=init)
    for images in (1, 100, 5_000, 1_281_167)
    for side_px in (32, 100, 480)
    for device in ("cpu", "cuda")
    for init in (
        None,
        vit_config("tiny", patch_px=16, image_px=224),
        vit_config("small", patch_px=14, image_px=518),
        vit_config("nano", patch_px=4, image_px=32),
    )
]


@pytest.mark.parametrize("facts", ALL_FACTS)
def test_the_derived_recipe_fits_images_and_weights(facts: Facts) -> None:
    config = make_config("cotap-small", facts)
    method, views = cotap_of(config), config.method.views
    patch_px = config.backbone.patch_px
    assert config.backbone.drop_path == 0
    assert config.train.batch <= facts.images
    if facts.init is not None:
        assert (config.backbone.dim, patch_px) == (facts.init.dim, facts.init.patch_px)
        assert views.global_px % patch_px == views.local_px % patch_px == 0
        side = views.global_px // patch_px
        assert views.local_px >= min(4, side // 2) * patch_px
        assert max(method.ranking_cells) == side
        assert 2 <= method.region_cells <= side
        assert method.neighbours.size == f"square:{views.global_px}"
    assert views.local_px < views.global_px <= views.base_px
    assert 0.9 < method.teacher_momentum < method.final_teacher_momentum < 1
    assert config.optim.warmup_epochs == config.optim.clip_norm == 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_length_follows_from_the_machine_and_the_teacher_from_the_length(
    device: Device,
) -> None:
    steps = {"cpu": 1_500, "cuda": 20_000}[device]
    config = make_config("cotap-small", Facts(10_000, 480, device))
    made = config.train.epochs * 10_000 / config.train.batch
    assert steps <= made < steps + 10_000 / config.train.batch
    window = 1 / (1 - cotap_of(config).teacher_momentum)
    assert window == pytest.approx(max(30, made / 72), rel=0.02)
    chosen = make_config("cotap-small", Facts(10_000, 480, device, batch=8, epochs=5.0))
    assert (chosen.train.batch, chosen.train.epochs) == (8, 5.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "init",
    [
        vit_config("tiny", patch_px=16, image_px=224),
        vit_config("small", patch_px=8, image_px=224),
        ViTConfig(dim=384, depth=11, heads=6),
    ],
)
def test_weights_of_another_size_are_named(init: ViTConfig) -> None:
    with pytest.raises(ConfigError, match=r"init must be a ViT 384 wide and 12 deep with patches"):
        make_config("cotap-vits16", Facts(1_000, 480, "cpu", init=init))


@pytest.mark.bad_input
def test_a_published_run_is_too_long_for_very_few_images() -> None:
    wanted = r"^train: data must hold at least 27 images for the 240,000 steps .*, got 26; use"
    with pytest.raises(ConfigError, match=wanted):
        make_config("cotap-vits16", Facts(26, 480, "cuda"))
    assert make_config("cotap-vits16", Facts(27, 480, "cuda")).train.epochs > 9e5
    assert make_config("cotap-vits16", Facts(26, 480, "cuda", epochs=3.0)).train.epochs == 3.0
