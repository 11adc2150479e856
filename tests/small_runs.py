"""The smallest of everything, for tests of methods and of training."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from patchwise.configs.backbone import ViTConfig
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.methods import DINOConfig, DistillationConfig, PWSelfConfig
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.configs.normalisation import IMAGENET
from patchwise.configs.run import DataConfig, OptimConfig, RunConfig, TrainConfig
from patchwise.configs.views import OverlappingViewsConfig, ViewsConfig
from patchwise.data.synthetic import render_scenes
from patchwise.distributed import OneProcess
from patchwise.methods.method import Batch, Method, Step, StepLoss
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.types import ImageBatch

VIT = ViTConfig(dim=32, depth=2, heads=2, patch_px=8, image_px=32)
VIEWS = ViewsConfig(base_px=64, global_px=32, local_px=16, local_count=2)
SMALL: dict[str, Any] = {
    "views": VIEWS,
    "prototypes": 24,
    "head_hidden_dim": 32,
    "bottleneck_dim": 16,
    "frozen_prototype_epochs": 0.0,
}
DINO_CONFIG = DINOConfig(**SMALL)
PWSELF_CONFIG = PWSelfConfig(**SMALL)
COTAP_CONFIG = CoTAPConfig(
    views=OverlappingViewsConfig(base_px=64, global_px=32, local_px=16, local_count=2),
    neighbours=NeighboursConfig(k=2, size="square:32"),
    filter_prototypes=3,
    bank_samples=6,
    bank_samples_per_step=4,
    patch_prototypes=12,
    image_prototypes=10,
    head_hidden_dim=32,
    bottleneck_dim=16,
    queued_patches=200,
    queued_images=30,
    region_cells=3,
    ranking_cells=(2, 4),
    strangers=2,
    teacher_momentum=0.9,
)


def small_vit(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return ViT(VIT)


def small_filtered(seed: int = 0) -> FilteredViT:
    return FilteredViT(small_vit(seed), prototypes=3).eval()


def other_pixels(vit: ViT) -> ViT:
    """Return the same function of pixels, but of images that are normalised otherwise."""
    made = copy.deepcopy(vit)
    made.config = replace(vit.config, pixel_mean=(0.1, 0.5, 0.9), pixel_std=(0.5, 0.3, 0.1))
    mean, std = map(torch.tensor, (made.config.pixel_mean, made.config.pixel_std))
    old_mean, old_std = map(torch.tensor, (IMAGENET.mean, IMAGENET.std))
    linear = made.patch_embed.proj
    assert linear.bias is not None
    with torch.no_grad():
        shift = linear.weight * ((mean - old_mean) / old_std)[:, None, None]
        linear.bias += shift.sum(dim=(1, 2, 3))
        linear.weight *= (std / old_std)[:, None, None]
    return made


def scene_batch(*ids: int, epoch: int = 0) -> Batch:
    scenes = render_scenes(np.array(ids))
    pixels = torch.from_numpy(scenes.images).movedim(-1, 1).contiguous()
    sizes = torch.full((len(ids), 2), 64)
    return {"images": ImageBatch(pixels, sizes, torch.tensor(ids), epoch)}


def paired_batch(*ids: int, epoch: int = 0) -> Batch:
    """What CoTAP is trained on: image i with i + 100 as its neighbour, and i + 200 with i + 300."""
    numbers = {"scenes": 0, "scenes.neighbour": 100, "objects": 200, "objects.neighbour": 300}
    return {
        name: scene_batch(*(i + more for i in ids), epoch=epoch)["images"]
        for name, more in numbers.items()
    }


def step_at(index: int = 0, total: int = 100, seed: int = 0) -> Step:
    return Step(index, total, 10, seed, OneProcess())


def make_step(method: Method[Any, Any], batch: Batch, step: Step) -> list[StepLoss[Any]]:
    """Compute all losses of a step and their gradients; change nothing."""
    with torch.no_grad():
        views = method.make_views(batch, step)
    found = []
    for loss in method.losses(views, step):
        loss.total.backward()  # type: ignore[no-untyped-call]
        found.append(loss)
    return found


def carries_of(losses: list[StepLoss[Any]]) -> list[Any]:
    """What a step's losses carry to ``after_step``."""
    return [loss.carry for loss in losses if loss.carry is not None]


def total_loss(method: Method[Any, Any], batch: Batch, step: Step) -> float:
    return sum(float(loss.total.detach()) for loss in make_step(method, batch, step))


def distillation(config: RunConfig) -> DINOConfig | PWSelfConfig:
    """Return the settings of the method, which is known to be DINO or PW-Self."""
    assert isinstance(config.method, DistillationConfig)
    return config.method


def run_config(**train: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "epochs": 2.0,
        "batch": 4,
        "precision": "float32",
        "log_every_steps": 1,
        "checkpoint_every_steps": 3,
    }
    return RunConfig(
        recipe="small",
        data=DataConfig(workers=0),
        backbone=replace(VIT, drop_path=0.2),
        method=PWSELF_CONFIG,
        optim=OptimConfig(lr_per_256=0.05, warmup_epochs=0.5),
        train=TrainConfig(**{**defaults, **train}),
    )
