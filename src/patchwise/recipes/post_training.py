"""CoTAP's settings: those of the published runs, and those that follow from images and machine."""

import math
from dataclasses import replace

from patchwise.configs.backbone import SIZES, ViTConfig
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.configs.run import MAX_EPOCHS, DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import OverlappingViewsConfig, fit_to_patches
from patchwise.errors import ConfigError
from patchwise.recipes.derived import shape_for
from patchwise.recipes.facts import Facts, Recipe

_LR = 3e-5


def cotap(size: str, patch_px: int, batch: int, steps: int) -> Recipe:
    """Return CoTAP's published settings.

    Args:
        size: Of the ViT that is given, one of `SIZES`.
        patch_px: Side of a patch.
        batch: Images a step over all processes, of each image set, each with its neighbour.
        steps: Of the whole run; the fewest where the authors name a range.

    Source: arXiv:2509.09429 and its published configurations.
    Differs: 16-bit numbers are bfloat16, which need no loss scaling.
    """

    def recipe(facts: Facts) -> RunConfig:
        given = facts.init or _named(size, patch_px)
        found = (given.dim, given.depth, given.heads, given.patch_px)
        if found != (*SIZES[size], patch_px):
            raise ConfigError(
                f"train: init must be a ViT {SIZES[size][0]} wide and {SIZES[size][1]} deep with "
                f"patches of {patch_px} px for this recipe, got one {given.dim} wide and "
                f"{given.depth} deep with patches of {given.patch_px} px; use --recipe cotap-small"
            )
        images = facts.batch or batch
        epochs = facts.epochs or steps * images / facts.images
        if epochs > MAX_EPOCHS:
            raise ConfigError(
                f"train: data must hold at least {math.ceil(steps * images / MAX_EPOCHS)} images "
                f"for the {steps:,} steps of this recipe, got {facts.images}; "
                f"use --recipe cotap-small"
            )
        return RunConfig(
            recipe="",
            data=DataConfig(workers=facts.workers),
            backbone=replace(given, drop_path=0.0),
            method=CoTAPConfig(views=OverlappingViewsConfig()),
            optim=_optim(_LR * images / batch, images),
            train=TrainConfig(
                epochs=epochs,
                batch=images,
                device=facts.device,
                precision="bf16",
            ),
        )

    return recipe


def cotap_small(facts: Facts) -> RunConfig:
    """CoTAP sized by rule for given weights, the images and the machine.

    What the paper measures in steps of its runs is kept in proportion: the teacher averages over
    a seventieth of the run, queues hold what 16 steps add. Steps are many and small: 8 images of
    each set with their neighbours have patches enough. Temperatures are lower: heads of a short run
    stay near what they are at random, and at the paper's temperatures the assignments of scores
    that differ so little say next to nothing (entropy 0.8 ln K of patches, 0.96 of images; here
    0.6 and 0.8).
    """
    shape = shape_for(facts)
    batch = facts.batch or min(8 if facts.device == "cpu" else 112, facts.images)
    steps = 1_500 if facts.device == "cpu" else 20_000
    epochs = facts.epochs or max(2.0, float(math.ceil(steps * batch / facts.images)))
    total = epochs * facts.images / batch
    patches = (shape.global_px // shape.patch_px) ** 2
    window = max(30.0, total / 72)
    views = OverlappingViewsConfig(
        base_px=math.ceil(shape.global_px * 256 / 224),
        global_px=shape.global_px,
        local_count=4,
        local_px=max(
            shape.local_px, min(4, shape.global_px // shape.patch_px // 2) * shape.patch_px
        ),
        local_area_frac=(0.1, 0.3),
    )
    method = CoTAPConfig(
        views=fit_to_patches(views, shape.patch_px),
        neighbours=NeighboursConfig(size=f"square:{shape.global_px}"),
        filter_prototypes=64,
        bank_samples=1024,
        patch_prototypes=128,
        image_prototypes=256,
        head_hidden_dim=512,
        bottleneck_dim=128,
        patch_temperature=0.03,
        image_temperature=0.02,
        student_temperature=0.06,
        neighbour_student_temperature=0.1,
        queued_patches=8192,
        queued_patches_per_step=512,
        queued_images=2048,
        region_cells=max(2, round(6 * patches**0.5 / 14)),
        ranking_cells=(max(2, round(patches**0.5 / 2)), round(patches**0.5)),
        teacher_momentum=round(1 - 1 / window, 5),
        final_teacher_momentum=round(1 - 1 / (3 * window), 5),
    )
    backbone = replace(facts.init or _named("small", 16), drop_path=0.0)
    return RunConfig(
        recipe="",
        data=DataConfig(workers=facts.workers),
        backbone=backbone,
        method=method,
        optim=_optim(1e-4, batch),
        train=TrainConfig(
            epochs=epochs, batch=batch, device=facts.device, val_every_epochs=max(1.0, epochs / 10)
        ),
    )


def _named(size: str, patch_px: int) -> ViTConfig:
    dim, depth, heads = SIZES[size]
    return ViTConfig(dim=dim, depth=depth, heads=heads, patch_px=patch_px)


def _optim(lr: float, batch: int) -> OptimConfig:
    """Return AdamW's settings with this peak for this batch, and a tenth of it at the end."""
    return OptimConfig(
        lr_per_256=lr * 256 / batch,
        final_lr=lr / 10,
        warmup_epochs=0.0,
        weight_decay=0.024,
        final_weight_decay=0.24,
        clip_norm=0.0,
    )
