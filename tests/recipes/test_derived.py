"""Settings that follow from the images and the machine."""

import pytest

from patchwise.configs.backbone import vit_config
from patchwise.configs.methods import PWSelfConfig
from patchwise.recipes import Device, Facts, make_config
from tests.small_runs import distillation

ALL_FACTS = [
    Facts(images, side_px, device)
    for images in (1, 100, 5_000, 1_281_167)
    for side_px in (32, 64, 100, 256, 2000)
    for device in ("cpu", "cuda")
]


@pytest.mark.parametrize("facts", ALL_FACTS)
def test_the_derived_recipe_fits_the_images(facts: Facts) -> None:
    config = make_config("small", facts)
    assert config.train.batch <= facts.images
    assert config.method.views.global_px <= max(32, facts.short_side_px + 40)
    assert 256 <= distillation(config).prototypes <= 65_536
    assert 0.9 <= config.method.teacher_momentum < 1
    assert config.optim.warmup_epochs < config.train.epochs


def test_what_the_user_chose_is_reckoned_with() -> None:
    chosen = make_config("small", Facts(1_000, 256, "cpu", batch=8, epochs=5.0))
    assert (chosen.train.batch, chosen.train.epochs) == (8, 5.0)
    assert chosen.optim.warmup_epochs < 1
    assert distillation(chosen).frozen_prototype_epochs < 1
    by_batch = make_config("small", Facts(1_000, 256, "cpu", batch=8))
    default = make_config("small", Facts(1_000, 256, "cpu"))
    assert by_batch.train.epochs < default.train.epochs  # as many steps, of fewer images


def test_more_images_get_more_prototypes_and_fewer_epochs() -> None:
    few, many = (make_config("small", Facts(n, 256, "cpu")) for n in (1_000, 100_000))
    assert distillation(few).prototypes < distillation(many).prototypes
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


@pytest.mark.parametrize("recipe", ["small", "demo"])
def test_patches_are_matched_with_the_nearest(recipe: str) -> None:
    method = make_config(recipe, Facts(1_000, 256, "cpu")).method
    assert isinstance(method, PWSelfConfig)
    assert method.matching == "nearest"
