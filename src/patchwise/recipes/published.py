"""The settings of published runs."""

from dataclasses import replace

from patchwise.configs.backbone import vit_config
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import ViewsConfig
from patchwise.recipes.facts import Facts, Recipe


def pwself(
    size: str, patch_px: int, prototypes: int, batch: int, *, patch_colour: bool = False
) -> Recipe:
    """Return PW-Self's published settings; ``base`` is its 256 x 256 square.

    The published runs recolour patches in one setting only, which is also the longer one.

    Args:
        size: Of the ViT, one of `SIZES`.
        patch_px: Side of a patch.
        prototypes: Outputs of the head.
        batch: Images a step; the smallest where the authors name a range.
        patch_colour: Whether patches are recoloured.

    Source: arXiv:2310.18651 and its published configurations.
    Differs: 16-bit numbers are bfloat16, which need no loss scaling; the authors' are float16.
    """

    def recipe(facts: Facts) -> RunConfig:
        method = PWSelfConfig(
            views=ViewsConfig(base="square"),
            prototypes=prototypes,
            matching="thinned",
            recolour_patches=patch_colour,
        )
        epochs = 120.0 if patch_colour else 100.0
        return RunConfig(
            recipe="",
            data=DataConfig(workers=facts.workers),
            backbone=replace(vit_config(size, patch_px=patch_px, image_px=224), drop_path=0.1),
            method=method,
            optim=OptimConfig(),
            train=TrainConfig(epochs=epochs, batch=batch, device=facts.device, precision="bf16"),
        )

    return recipe
