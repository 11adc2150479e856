"""What all variants of the training step have in common: sizes, images, views, our own steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from patchwise.augment.multicrop import MultiCropViews, make_multicrop
from patchwise.configs.methods import DINOConfig, DistillationConfig, PWSelfConfig
from patchwise.configs.run import RunConfig
from patchwise.data.synthetic import Scenes, render_scenes
from patchwise.recipes import Facts, make_config
from patchwise.training.engine import Precision
from patchwise.training.plan import build_training, make_plan
from patchwise.types import ImageBatch

BASE_PX, SCENE_PX, SOURCE_IMAGES = 256, 128, 1024
Act = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """The sizes of a step. Defaults: ViT-Ti/16, 2 x 224 + 8 x 96 px, as PW-Self's authors train."""

    prototypes: int = 10_000
    precision: Precision = "float32"
    batch: int = 8
    local_count: int = 8
    shared_geometry: bool = False  # one draw of crops for a batch
    lean: bool = False  # as little memory as can be: two images, and one view of them, at a time
    recolour_patches: bool = False  # concerns the making of views alone

    def config(self, method: Literal["pwself", "dino"]) -> RunConfig:
        """Return the settings of a run; the prototypes move from the first step on."""
        facts = Facts(images=SOURCE_IMAGES, short_side_px=BASE_PX, device="cpu")
        config = make_config("pwself-imagenet1k-tiny", facts)
        assert isinstance(config.method, DistillationConfig), "it was asked for"
        views = replace(
            config.method.views, local_count=self.local_count, shared_geometry=self.shared_geometry
        )
        kinds: dict[str, DINOConfig | PWSelfConfig] = {
            "pwself": PWSelfConfig(matching="thinned", recolour_patches=self.recolour_patches),
            "dino": DINOConfig(),
        }
        chosen = replace(
            kinds[method],
            views=views,
            prototypes=self.prototypes,
            frozen_prototype_epochs=0.0,
            views_per_pass=1 if self.lean else 0,
        )
        train = replace(
            config.train,
            batch=self.batch,
            log_every_steps=10**9,
            accumulate=max(1, self.batch // 2) if self.lean else 1,
            recompute=self.lean,
        )
        return replace(config, method=chosen, train=train)

    def images(self) -> ImageBatch:
        """Return scenes that are as large as the square that the authors crop from."""
        scenes = render_scenes(np.arange(self.batch), size_px=SCENE_PX).images
        large = scenes.repeat(BASE_PX // SCENE_PX, axis=1).repeat(BASE_PX // SCENE_PX, axis=2)
        pixels = torch.from_numpy(large).movedim(-1, 1).contiguous()
        sizes = torch.full((self.batch, 2), BASE_PX)
        return ImageBatch(pixels, sizes, torch.arange(self.batch), epoch=0)

    def views(self, images: ImageBatch | None = None) -> MultiCropViews:
        """Return the views that our method makes at the first step, of `images` if not given."""
        config = self.config("pwself")
        assert isinstance(config.method, PWSelfConfig), "it was asked for"
        return make_multicrop(
            self.images() if images is None else images,
            config.method.views,
            patch_colour=config.method.patch_colour if self.recolour_patches else None,
            patch_px=config.backbone.patch_px,
            seed=config.train.seed,
        )


def build_views(setting: Setting) -> Act:
    """Return what makes our views of images that are there."""
    images = setting.images()
    return lambda: setting.views(images)


def build_ours(setting: Setting, method: Literal["pwself", "dino"]) -> Act:
    """Return a whole step of training but for the views, which are made once, before.

    What else ``make_views`` prepares, is prepared once as well.
    """
    config = setting.config(method)
    plan = make_plan(config, Scenes(SOURCE_IMAGES), None)
    training = build_training(plan, setting.precision)
    made: dict[str, object] = {}
    make_views = training.method.make_views

    def make_once(batch: object, step: object) -> object:
        if not made:
            made["views"] = make_views(batch, step)  # type: ignore[arg-type]
        return made["views"]

    training.method.make_views = make_once  # type: ignore[method-assign]
    batch = {"images": setting.images()}
    return lambda: training.step(batch)
