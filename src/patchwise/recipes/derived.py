"""Settings that follow from the images and the machine, and those of the demo."""

import math
from dataclasses import dataclass, replace

from patchwise.configs.backbone import ViTConfig, vit_config
from patchwise.configs.methods import PWSelfConfig
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import PatchColourConfig, ViewsConfig
from patchwise.recipes.facts import Facts


def small(facts: Facts) -> RunConfig:
    """PW-Self sized by rule for the number and size of the images, the device and the batch.

    The teacher is sharper than the paper's, 0.02 for 0.04: a short run on few images can foresee
    little of it at first, and near the uniform answer only that times T_s / T_t above 1 leads away.
    Patches are matched with the nearest, not as in the paper: see docs/matching.md.
    """
    shape = shape_for(facts)
    backbone = _backbone(shape, facts)
    narrow = backbone.dim < 192
    batch = facts.batch or min(64 if facts.device == "cpu" else 256, facts.images)
    steps = 3_000 if facts.device == "cpu" else 20_000
    derived = min(800.0, max(10.0, float(math.ceil(steps * batch / facts.images))))
    epochs = derived if facts.epochs is None else facts.epochs
    # The teacher averages over a thirtieth of the run: 0.99 in a short one, 0.9985 in a long one.
    window = max(30.0, epochs * facts.images / batch / 30)
    method = PWSelfConfig(
        views=ViewsConfig(
            base_px=math.ceil(shape.global_px * 256 / 224),
            global_px=shape.global_px,
            local_count=shape.local_count,
            local_px=shape.local_px,
        ),
        prototypes=_power_of_two(facts.images / 20, 256, 65_536),
        head_hidden_dim=512 if narrow else 2048,
        bottleneck_dim=128 if narrow else 256,
        teacher_temperature=0.02,
        warmup_teacher_temperature=0.02,
        teacher_momentum=round(1 - 1 / window, 4),
        frozen_prototype_epochs=0.02 * epochs,
    )
    return RunConfig(
        recipe="small",
        data=DataConfig(workers=facts.workers),
        backbone=backbone,
        method=method,
        optim=OptimConfig(lr_per_256=2e-3 if narrow else 5e-4, warmup_epochs=0.1 * epochs),
        train=TrainConfig(
            epochs=epochs, batch=batch, device=facts.device, val_every_epochs=max(1.0, epochs / 10)
        ),
    )


def demo(facts: Facts) -> RunConfig:
    """PW-Self for synthetic scenes of 64 px, in the minutes that a demo has.

    Colours tell nothing there, so views and patches change them strongly. Patches of 8 px are not
    posterised, and hardly blurred: the paper's blur, for patches of 16 px, would wipe out the
    textures that do tell. The teacher is sharp, without which so short a run stays near the
    uniform answer.
    """
    views = ViewsConfig(
        base_px=64,
        global_px=64,
        global_area_frac=(0.3, 1.0),
        local_count=2,
        local_px=32,
        local_area_frac=(0.1, 0.5),
        jitter_prob=0.9,
        saturation=0.4,
        hue=0.5,
        grayscale_prob=0.3,
        blur_sigma_px=(0.1, 1.0),
        blur_probs=(0.5, 0.1, 0.1),
        solarise_probs=(0.2, 0.2, 0.2),
    )
    method = PWSelfConfig(
        views=views,
        patch_colour=PatchColourConfig(
            brightness=0.5, hue=0.5, blur_sigma_px=(0.1, 0.3), posterise_prob=0.0
        ),
        prototypes=256,
        head_hidden_dim=256,
        bottleneck_dim=64,
        teacher_temperature=0.02,
        warmup_teacher_temperature=0.02,
        teacher_momentum=0.99,
        frozen_prototype_epochs=0.0,
        prototype_rate_scale=0.07,
        cls_weight=0.1,
    )
    return RunConfig(
        recipe="demo",
        data=DataConfig(workers=1),
        backbone=ViTConfig(dim=96, depth=4, heads=3, patch_px=8, image_px=64),
        method=method,
        optim=OptimConfig(
            lr_per_256=0.006, warmup_epochs=0.3, weight_decay=0.04, final_weight_decay=0.04
        ),
        train=TrainConfig(
            epochs=3.0,
            batch=32,
            device=facts.device,
            precision="bf16",
            checkpoint_every_steps=250,
            val_every_epochs=1.0,
        ),
    )


@dataclass(frozen=True)
class Shape:
    """Sizes of backbone and views."""

    size: str  # of the backbone; "given" with the weights
    patch_px: int
    global_px: int
    local_px: int
    local_count: int


def _backbone(shape: Shape, facts: Facts) -> ViTConfig:
    vit = facts.init or vit_config(shape.size, patch_px=shape.patch_px, image_px=shape.global_px)
    return replace(vit, drop_path=0.0 if vit.dim < 192 else 0.1)


def shape_for(facts: Facts) -> Shape:
    """Choose the largest views that the images fill and the device can carry."""
    if facts.init is not None:
        return _given_shape(facts.init, facts)
    on_cpu, side_px = facts.device == "cpu", facts.short_side_px
    if side_px < 56:
        return Shape("nano" if on_cpu else "tiny", 4, 32, 16, 4)
    if side_px < 90:
        return Shape("nano" if on_cpu else "tiny", 8, 64, 32, 4)
    if on_cpu:
        return Shape("nano", 8, 96, 40, 4)
    if side_px < 190:
        return Shape("tiny", 8, 112, 48, 6)
    return Shape("tiny" if facts.images < 50_000 else "small", 16, 224, 96, 8)


def _given_shape(init: ViTConfig, facts: Facts) -> Shape:
    """Choose views for given weights: their own size up to 224 px, no more than the images fill."""
    patch_px = init.patch_px
    global_patches = max(4, min(init.image_px, 224, facts.short_side_px) // patch_px)
    local_patches = max(2, round(global_patches * 96 / 224))
    count = 4 if facts.device == "cpu" else 8
    return Shape("given", patch_px, global_patches * patch_px, local_patches * patch_px, count)


def _power_of_two(value: float, low: int, high: int) -> int:
    """Return the power of two nearest to ``value`` in proportion, within [low, high]."""
    return min(high, max(low, int(2.0 ** round(math.log2(max(1.0, value))))))
