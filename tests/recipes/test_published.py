"""The settings of published runs, line by line. Source: arXiv:2310.18651 and its configurations."""

import pytest

from patchwise.configs.backbone import vit_config
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.run import RunConfig
from patchwise.recipes import RECIPES, Facts, make_config
from tests.small_runs import distillation

FACTS = Facts(50_000, 32, "cuda")
# size, patch_px, prototypes, batch, epochs, patch colour
SETTINGS: dict[str, tuple[str, int, int, int, int, bool]] = {
    "pwself-cifar10": ("tiny", 16, 1_000, 40, 100, False),
    "pwself-imagenet100": ("base", 16, 10_000, 30, 120, True),
    "pwself-imagenet100-b8": ("base", 8, 10_000, 6, 100, False),
    "pwself-imagenet100-tiny": ("tiny", 16, 1_000, 90, 100, False),
    "pwself-imagenet1k": ("base", 16, 65_536, 4, 100, False),
    "pwself-imagenet1k-tiny": ("tiny", 16, 65_536, 8, 100, False),
}


@pytest.fixture(params=sorted(SETTINGS))
def config(request: pytest.FixtureRequest) -> RunConfig:
    return make_config(request.param, FACTS)


def test_every_published_run_is_held_against_the_paper() -> None:
    own = {"pwself-32px"}
    assert {name for name in RECIPES if name.startswith("pwself")} - own == SETTINGS.keys()


def test_sizes_length_and_patch_colour(config: RunConfig) -> None:
    size, patch_px, prototypes, batch, epochs, patch_colour = SETTINGS[config.recipe]
    vit, expected = config.backbone, vit_config(size, patch_px=patch_px, image_px=224)
    assert (vit.dim, vit.depth, vit.heads) == (expected.dim, expected.depth, expected.heads)
    assert (vit.patch_px, vit.image_px, vit.drop_path) == (patch_px, 224, 0.1)
    assert isinstance(config.method, PWSelfConfig)
    assert config.method.recolour_patches == patch_colour
    assert (config.method.prototypes, config.train.batch) == (prototypes, batch)
    assert (config.train.epochs, config.train.accumulate) == (epochs, 1)
    assert config.train.precision == "bf16"


def test_views(config: RunConfig) -> None:
    views = distillation(config).views
    assert (views.base, views.base_px, views.global_px, views.local_px) == ("square", 256, 224, 96)
    assert (views.local_count, views.aspect, views.flip_prob) == (8, (3 / 4, 4 / 3), 0.5)
    assert (views.global_area_frac, views.local_area_frac) == ((0.4, 1.0), (0.05, 0.4))
    assert (views.jitter_prob, views.grayscale_prob) == (0.8, 0.2)
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.4, 0.4, 0.2, 0.1)
    assert (views.blur_probs, views.blur_sigma_px) == ((1.0, 0.1, 0.5), (0.1, 2.0))
    assert views.solarise_probs == (0.0, 0.2, 0.0)
    assert not views.shared_geometry


def test_patch_colour(config: RunConfig) -> None:
    assert isinstance(config.method, PWSelfConfig)
    colour = config.method.patch_colour
    assert (colour.brightness, colour.hue, colour.blur_sigma_px) == (0.1, 0.1, (0.1, 2.0))
    assert (colour.sharpness_prob, colour.sharpness) == (0.5, 2.0)
    assert (colour.posterise_prob, colour.posterise_bits) == (0.5, 3)


def test_head_teacher_and_centre(config: RunConfig) -> None:
    method = distillation(config)
    assert (method.head_hidden_dim, method.bottleneck_dim) == (2048, 256)
    assert (method.student_temperature, method.teacher_temperature) == (0.1, 0.04)
    assert (method.teacher_momentum, method.centre_momentum) == (0.996, 0.9)
    assert method.centre == "position"
    assert (method.frozen_prototype_epochs, method.prototype_rate_scale) == (1.0, 1.0)
    assert isinstance(method, PWSelfConfig)
    assert method.shared_head
    assert method.matching == "thinned"
    assert method.cls_weight is None  # all tokens count alike


def test_optimiser(config: RunConfig) -> None:
    optim = config.optim
    assert (optim.lr_per_256, optim.final_lr, optim.warmup_epochs) == (5e-4, 1e-6, 10.0)
    assert (optim.weight_decay, optim.final_weight_decay) == (0.04, 0.4)
    assert optim.clip_norm == 3.0


def test_batch_and_prototypes_of_dino_are_those_of_its_partner() -> None:
    for name, (_, _, prototypes, batch, _, _) in SETTINGS.items():
        baseline = make_config(name.replace("pwself", "dino"), FACTS)
        assert (distillation(baseline).prototypes, baseline.train.batch) == (prototypes, batch)
