"""From settings to something that can be trained: checks, initial weights, method, forecast."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from patchwise.configs.run import RunConfig
from patchwise.data.images import ResizeRule
from patchwise.data.loader import BadImages, BatchStream
from patchwise.data.source import ImageSource
from patchwise.errors import ConfigError
from patchwise.methods import build_method
from patchwise.methods.method import Batch
from patchwise.models.vit import ViT
from patchwise.randomness import random_seed
from patchwise.train.engine import Precision, build_fabric
from patchwise.train.forecast import Forecast, make_forecast, measure
from patchwise.train.loop import Training
from patchwise.train.optim import build_optimizer

_INITIAL_WEIGHTS, _INITIAL_HEADS = 2, 3  # keys of seeds
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


@dataclass(frozen=True)
class Plan:
    """What to train, from which weights, on which images."""

    config: RunConfig
    initial: ViT  # the backbone before training; never changed
    sources: Mapping[str, ImageSource]  # one for each of the method's inputs

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch; images that do not fill a last batch wait for the next."""
        return min(len(source) for source in self.sources.values()) // self.config.train.batch

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run; at least one."""
        return max(1, round(self.config.train.epochs * self.steps_per_epoch))


def make_plan(config: RunConfig, source: ImageSource, weights: ViT | None) -> Plan:
    """Check that the settings fit together, and make the initial backbone.

    Args:
        config: Its ``backbone`` must be that of ``weights``, but for ``drop_path``.
        source: The images.
        weights: Where to begin; None: at random weights that follow from the seed.

    Raises:
        ConfigError: Views are no multiples of the patch, or a batch needs more images.
    """
    patch_px, views = config.backbone.patch_px, config.method.views
    for name, side_px in {"global_px": views.global_px, "local_px": views.local_px}.items():
        if side_px % patch_px:
            nearest = max(1, round(side_px / patch_px)) * patch_px
            raise ConfigError(
                f"config: key 'method.views.{name}' must be a multiple of backbone.patch_px "
                f"{patch_px}, got {side_px}; use {nearest}"
            )
    if config.train.batch > len(source):
        raise ConfigError(
            f"config: key 'train.batch' must be at most the number of images, got batch "
            f"{config.train.batch} for {len(source)} images of {source.name}; "
            f"use --set train.batch={len(source)}"
        )
    torch.manual_seed(random_seed(config.train.seed, _INITIAL_WEIGHTS))
    initial = ViT(config.backbone)
    if weights is not None:
        initial.load_state_dict(weights.state_dict())
    return Plan(config, initial.eval(), {"images": source})


def build_training(plan: Plan, precision: Precision) -> Training:
    """Return the plan's method and optimiser at step 0, on the plan's device."""
    config = plan.config
    fabric = build_fabric(config.train.device, precision)
    torch.manual_seed(random_seed(config.train.seed, _INITIAL_HEADS))
    method = build_method(copy.deepcopy(plan.initial), config.method).to(fabric.device)
    return Training(
        method=method,
        optimizer=build_optimizer(method.parameter_groups()),
        config=config,
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        fabric=fabric,
    )


def open_stream(plan: Plan, bad_images: BadImages, *, start_step: int) -> Iterator[Batch]:
    """Yield the batches of a run from a step on, without end."""
    config = plan.config
    views = config.method.views
    streams = {
        name: BatchStream(
            source,
            batch=config.train.batch,
            seed=config.train.seed,
            workers=config.data.workers,
            resize=ResizeRule(views.base, views.base_px),
            bad_images=bad_images,
            start_step=start_step,
        )
        for name, source in plan.sources.items()
    }
    iterators = {name: iter(stream) for name, stream in streams.items()}
    while True:
        yield {name: next(iterator) for name, iterator in iterators.items()}


def forecast(plan: Plan, say: Callable[[str], None]) -> tuple[Plan, Forecast]:
    """Measure a few steps that are thrown away; settle the precision if it is open.

    Returns:
        The plan with its precision resolved, and what the run is expected to cost.
    """
    wanted = plan.config.train.precision
    measured = {}
    for precision in PRECISIONS if wanted is None else (wanted,):
        say(f"measuring some steps in {precision} ...")
        stream = open_stream(plan, BadImages(plan.config.data.tolerated_bad_images), start_step=0)
        measured[precision] = measure(build_training(plan, precision), stream)
    chosen = wanted or max(measured, key=lambda p: measured[p].images_per_s)
    config = replace(plan.config, train=replace(plan.config.train, precision=chosen))
    resolved = replace(plan, config=config)
    return resolved, make_forecast(plan.total_steps, config.train.batch, chosen, measured)
