"""What all variants of CoTAP's step have in common: sizes, images, a run well on its way."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from patchwise.configs.backbone import ViTConfig, vit_config
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.run import RunConfig
from patchwise.data.synthetic import Scenes, render_scenes
from patchwise.distributed import OneProcess
from patchwise.methods.cotap import CoTAP, CoTAPViews
from patchwise.methods.method import Batch, Step
from patchwise.models.fifo import FIFO
from patchwise.recipes import Facts, make_config
from patchwise.training.engine import Precision
from patchwise.training.loop import Training
from patchwise.training.plan import build_training, make_plan
from patchwise.types import ImageBatch

Size = Literal["paper", "small"]
SIZES: tuple[Size, ...] = ("paper", "small")
BATCHES: dict[Size, int] = {"paper": 4, "small": 32}
SCENE_PX, SOURCE_IMAGES = 64, 2000


@dataclass(frozen=True)
class CoTAPSetting:
    """The sizes of a step.

    paper: ViT-S/16, 2 x 224 + 4 x 96 px, heads and queues as published. small: what the recipe
    cotap-small makes of a ViT 96 wide and 4 deep, patches of 8 px, and 2,000 images of 64 px.
    """

    size: Size = "small"
    precision: Precision = "float32"
    batch: int = 0  # images of each set, which have a neighbour each; 0: that of `BATCHES`

    @property
    def images(self) -> int:
        """Images of both sets, without neighbours."""
        return 2 * (self.batch or BATCHES[self.size])

    def config(self) -> RunConfig:
        """Return the settings of a run that logs nothing."""
        if self.size == "paper":
            recipe, backbone = "cotap-vits16", vit_config("small", patch_px=16, image_px=224)
        else:
            recipe = "cotap-small"
            backbone = ViTConfig(dim=96, depth=4, heads=3, patch_px=8, image_px=SCENE_PX)
        facts = Facts(SOURCE_IMAGES, SCENE_PX, "cpu", init=backbone, batch=self.images // 2)
        config = make_config(recipe, facts)
        return replace(config, train=replace(config.train, log_every_steps=10**9))

    def batches(self) -> Batch:
        """Return scenes of both sets, and others as neighbours, of the size of base images."""
        side_px = self.config().method.views.base_px
        found: dict[str, ImageBatch] = {}
        for source in CoTAP.inputs:
            for name in (source.name, source.neighbour_name):
                ids = np.arange(self.images // 2) + 1000 * len(found)
                scenes = torch.from_numpy(render_scenes(ids, size_px=SCENE_PX).images)
                pixels = F.interpolate(scenes.movedim(-1, 1), size=(side_px, side_px))
                sizes = torch.full((len(ids), 2), side_px)
                found[name] = ImageBatch(pixels, sizes, torch.from_numpy(ids), epoch=0)
        return found

    def training(self, *, queued: bool = True) -> Training:
        """Return a run whose bank is full, and its queues too, unless there are to be none."""
        config = self.config()
        assert isinstance(config.method, CoTAPConfig), "the recipe is CoTAP's"
        if not queued:
            config = replace(
                config, method=replace(config.method, queued_patches=1, queued_images=1)
            )
        names = [source.name for source in CoTAP.inputs]
        nearest = {name: np.zeros((SOURCE_IMAGES, 1), dtype=np.int64) for name in names}
        plan = make_plan(config, Scenes(SOURCE_IMAGES), None, nearest)
        training = build_training(plan, self.precision)
        method = method_of(training)
        assert method.bank is not None, "there is a filter"
        method.bank.queue.push(torch.randn_like(method.bank.queue.stored))
        if queued:
            for queue in (method.patch_queue, method.image_queue):
                fill(queue.scores)
                queue.steps.push(torch.zeros_like(queue.steps.stored))
        return training


def fill(scores: FIFO) -> None:
    """Push numbers that are spread as the cosines of random vectors of 32 channels."""
    draw = torch.Generator().manual_seed(0)
    scores.push(torch.empty_like(scores.stored).normal_(0, 32**-0.5, generator=draw))


def method_of(training: Training) -> CoTAP:
    """Return the method, whose type is known."""
    assert isinstance(training.method, CoTAP), "the recipe is CoTAP's"
    return training.method


def make_views(method: CoTAP, batch: Batch) -> CoTAPViews:
    """Return the views of a run's first step."""
    with torch.no_grad():
        return method.make_views(batch, Step(0, 1000, 100, 0, OneProcess()))
