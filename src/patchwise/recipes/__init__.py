"""Named sets of settings. The papers' are fixed; the derived ones follow from the images."""

from dataclasses import replace

from patchwise.checks import check_choice
from patchwise.configs.methods import DINOConfig
from patchwise.configs.run import RunConfig
from patchwise.recipes.derived import demo, small
from patchwise.recipes.facts import Device, Facts, Recipe, read_facts
from patchwise.recipes.post_training import cotap, cotap_small
from patchwise.recipes.published import pwself
from patchwise.recipes.small_images import pwself_32px

__all__ = ["DESCRIPTIONS", "RECIPES", "Device", "Facts", "Recipe", "make_config", "read_facts"]


def make_config(recipe: str, facts: Facts) -> RunConfig:
    """Return all settings of a recipe for these images and this machine.

    Raises:
        ChoiceError: There is no such recipe.
    """
    check_choice("train", RECIPES, recipe=recipe)
    return replace(RECIPES[recipe](facts), recipe=recipe)


def _as_dino(recipe: Recipe) -> Recipe:
    """Return the same settings for DINO, the baseline."""

    def baseline(facts: Facts) -> RunConfig:
        config = recipe(facts)
        names = DINOConfig.__dataclass_fields__.keys() - {"name"}
        return replace(
            config, method=DINOConfig(**{name: getattr(config.method, name) for name in names})
        )

    return baseline


_PWSELF: dict[str, tuple[Recipe, str]] = {
    "pwself-32px": (
        pwself_32px,
        "PW-Self for sets like CIFAR-10, 50,000 images at their own 32 px: ViT-Ti/4.",
    ),
    "pwself-cifar10": (
        pwself("tiny", 16, 1_000, 40),
        "The paper's CIFAR-10 run: ViT-Ti/16 at 224 px, 1,000 prototypes.",
    ),
    "pwself-imagenet100": (
        pwself("base", 16, 10_000, 30, patch_colour=True),
        "The paper's ImageNet-100 run with patch colour: ViT-B/16.",
    ),
    "pwself-imagenet100-b8": (
        pwself("base", 8, 10_000, 6),
        "The paper's ImageNet-100 run: ViT-B/8, 10,000 prototypes.",
    ),
    "pwself-imagenet100-tiny": (
        pwself("tiny", 16, 1_000, 90),
        "The paper's ImageNet-100 run: ViT-Ti/16, 1,000 prototypes.",
    ),
    "pwself-imagenet1k": (
        pwself("base", 16, 65_536, 4),
        "The paper's ImageNet-1K run: ViT-B/16, 65,536 prototypes.",
    ),
    "pwself-imagenet1k-tiny": (
        pwself("tiny", 16, 65_536, 8),
        "The paper's ImageNet-1K run: ViT-Ti/16, 65,536 prototypes.",
    ),
}
_COTAP: dict[str, tuple[Recipe, str]] = {
    "cotap-small": (
        cotap_small,
        "CoTAP sized by rule for given weights, your images and this machine; needs --init.",
    ),
    "cotap-vitb16": (
        cotap("base", 16, 128, 210_000),
        "The paper's ViT-B/16: 210,000 steps of 128 images; needs --init.",
    ),
    "cotap-vitb8": (
        cotap("base", 8, 64, 210_000),
        "The paper's ViT-B/8: 210,000 steps of 64 images; needs --init.",
    ),
    "cotap-vits16": (
        cotap("small", 16, 112, 240_000),
        "The paper's ViT-S/16: 240,000 steps of 112 images; needs --init.",
    ),
}
# Each has its baseline, dino-cifar10 of pwself-cifar10 and so on.
_BASELINES = {name: name.replace("pwself", "dino") for name in _PWSELF}

RECIPES: dict[str, Recipe] = {
    "small": small,
    "small-dino": _as_dino(small),
    "demo": demo,
    **{name: recipe for name, (recipe, _) in (_PWSELF | _COTAP).items()},
    **{_BASELINES[name]: _as_dino(recipe) for name, (recipe, _) in _PWSELF.items()},
}

DESCRIPTIONS: dict[str, str] = {
    "small": "PW-Self sized by rule for your images and this machine (the default).",
    "small-dino": "The same with DINO, the baseline.",
    "demo": "What `patchwise demo` trains on synthetic scenes.",
    **{name: text for name, (_, text) in (_PWSELF | _COTAP).items()},
    **{baseline: f"{name} with DINO, the baseline." for name, baseline in _BASELINES.items()},
}
