"""From settings to something that can be trained: checks, initial weights, method, forecast."""

import copy
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace

import torch

from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.run import RunConfig
from patchwise.data.bad_images import BadImages
from patchwise.data.images import ResizeRule
from patchwise.data.loader import BatchStream, LoadedBatch
from patchwise.data.reader import NearestIds
from patchwise.data.resident import Residence
from patchwise.data.source import ImageSource
from patchwise.errors import ConfigError
from patchwise.methods import METHODS, build_method, inputs_read
from patchwise.methods.method import Batch
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.randomness import random_seed
from patchwise.training.engine import (
    FabricCollectives,
    Precision,
    build_fabric,
    check_device,
)
from patchwise.training.forecast import Forecast, Measurement, make_forecast, measure
from patchwise.training.keeping import choose_residences, describe_residences, expected_bytes
from patchwise.training.loop import Training
from patchwise.training.optim import build_optimizer
from patchwise.training.processes import here
from patchwise.training.sharing import equalise, share_bad_images

_INITIAL_WEIGHTS, _INITIAL_HEADS, _ORDERS = 2, 3, 4  # keys of seeds
Say = Callable[[str], None]
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


@dataclass(frozen=True)
class Plan:
    """What to train, from which weights, on which images."""

    config: RunConfig
    initial: ViT | FilteredViT  # the backbone before training; never changed
    sources: Mapping[str, ImageSource]  # one for each of the method's inputs
    neighbours: Mapping[str, NearestIds] = field(default_factory=dict)  # of those that want them

    def __post_init__(self) -> None:
        inputs = METHODS[self.config.method.name].inputs
        assert self.sources.keys() == {i.name for i in inputs}, "a source for every input"
        wanted = {i.name for i in inputs if i.neighbours}
        assert self.neighbours.keys() == wanted, "neighbours where they are wanted"

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch; images that do not fill a last batch wait for the next."""
        return min(len(source) for source in self.sources.values()) // self.config.train.batch

    @property
    def refresh_steps(self) -> int:
        """Optimiser steps between two searches for neighbours; 0: none follows the first."""
        method = self.config.method
        epochs = method.refresh_neighbours_epochs if isinstance(method, CoTAPConfig) else 0.0
        return max(1, round(epochs * self.steps_per_epoch)) if epochs else 0

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run; at least one."""
        return max(1, round(self.config.train.epochs * self.steps_per_epoch))


def make_plan(
    config: RunConfig,
    images: ImageSource | Mapping[str, ImageSource],
    weights: ViT | FilteredViT | None,
    neighbours: Mapping[str, NearestIds] | None = None,
) -> Plan:
    """Check that the settings fit together, and make the initial backbone.

    Args:
        config: Its ``backbone`` must be that of ``weights``, but for ``drop_path``.
        images: Of all inputs of the method, or of each by its name.
        weights: Where to begin; None: at random weights that follow from the seed.
        neighbours: Of the images of those inputs that want them.

    Raises:
        ConfigError: Views are no multiples of the patch, a batch needs more images than there are,
            or the schedules cannot be run through.
    """
    patch_px, views = config.backbone.patch_px, config.method.views
    for name, side_px in {"global_px": views.global_px, "local_px": views.local_px}.items():
        if side_px % patch_px:
            nearest = max(1, round(side_px / patch_px)) * patch_px
            raise ConfigError(
                f"config: key 'method.views.{name}' must be a multiple of backbone.patch_px "
                f"{patch_px}, got {side_px}; use {nearest}"
            )
    inputs = METHODS[config.method.name].inputs
    sources = images if isinstance(images, Mapping) else {i.name: images for i in inputs}
    for source in sources.values():
        if config.train.batch > len(source):
            raise ConfigError(
                f"config: key 'train.batch' must be at most the number of images, got batch "
                f"{config.train.batch} for {len(source)} images of {source.name}; "
                f"use --set train.batch={len(source)}"
            )
    _check_schedule(config)
    initial = _initial_backbone(config, weights)
    return Plan(config, initial, sources, neighbours or {})


def _initial_backbone(config: RunConfig, weights: ViT | FilteredViT | None) -> ViT | FilteredViT:
    torch.manual_seed(random_seed(config.train.seed, _INITIAL_WEIGHTS))
    initial = ViT(config.backbone)
    if isinstance(weights, FilteredViT):
        filtered = FilteredViT(initial, len(weights.filter.prototypes))
        filtered.load_state_dict(weights.state_dict())
        return filtered.eval()
    if weights is not None:
        initial.load_state_dict(weights.state_dict())
    return initial.eval()


def _check_schedule(config: RunConfig) -> None:
    """Refuse schedules that would never reach their peak, or rise where they should fall."""
    optim, epochs = config.optim, config.train.epochs
    if optim.warmup_epochs >= epochs:
        raise ConfigError(
            f"config: key 'optim.warmup_epochs' must be less than train.epochs {epochs:g}, got "
            f"{optim.warmup_epochs:g}; use --set optim.warmup_epochs={epochs / 10:g}"
        )
    peak = optim.lr_per_256 * config.train.batch / 256
    if optim.final_lr > peak:
        raise ConfigError(
            f"config: key 'optim.final_lr' must be at most the peak rate {peak:g} for batch "
            f"{config.train.batch}, got {optim.final_lr:g}; lower it, or raise optim.lr_per_256"
        )


def build_training(plan: Plan, precision: Precision) -> Training:
    """Return the plan's method and optimiser at step 0, on the plan's device.

    Raises:
        ConfigError: The batch cannot be shared out among processes.
    """
    config = plan.config
    check_shares(config)
    fabric = build_fabric(config.train.device, precision)
    torch.manual_seed(random_seed(config.train.seed, _INITIAL_HEADS))
    method = build_method(copy.deepcopy(plan.initial), config.method).to(fabric.device)
    equalise([*method.parameters(), *method.buffers()], FabricCollectives(fabric))
    return Training(
        method=method,
        optimizer=build_optimizer(method.parameter_groups()),
        config=config,
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        fabric=fabric,
    )


def check_shares(config: RunConfig) -> None:
    """Raise a ConfigError if the batch is not for all processes and their parts alike."""
    size, parts = here().size, config.train.accumulate
    if config.train.batch % (size * parts):
        raise ConfigError(
            f"config: key 'train.batch' must be a multiple of processes x train.accumulate "
            f"{size} x {parts}, got {config.train.batch}; use "
            f"{max(1, round(config.train.batch / (size * parts))) * size * parts}"
        )


def open_stream(
    plan: Plan,
    bad_images: Mapping[str, BadImages],
    *,
    start_step: int,
    say: Say,
    residences: Mapping[str, Residence] | None = None,
) -> Generator[Batch, None, None]:
    """Yield the batches of a run from a step on, without end: this process's part of each.

    All processes count the bad images of all, and where one cannot go on, none does.

    Args:
        plan: Its sources give the images.
        bad_images: Where those that cannot be used are counted, by input.
        start_step: The first step.
        say: Told of each image that is replaced because it cannot be used.
        residences: Where the images of each input stay once they have been read; see
            `find_residences`.
    """
    config = plan.config
    residences = residences or {}
    inputs = inputs_read(config.method)
    iterators = {
        wanted: BatchStream(
            plan.sources[wanted.name],
            batch=config.train.batch,
            seed=random_seed(config.train.seed, _ORDERS, place),
            workers=config.data.workers,
            resize=_resize_rule(plan),
            neighbours=plan.neighbours.get(wanted.name),
            residence=residences.get(wanted.name),
            rank=here().rank,
            world_size=here().size,
        ).batches(bad_images[wanted.name], start_step=start_step)
        for place, wanted in inputs.items()
    }
    while True:
        loaded: dict[str, LoadedBatch] = {}
        error: Exception | None = None
        try:
            for wanted, iterator in iterators.items():
                loaded[wanted.name] = next(iterator)
        except Exception as caught:  # the others must know
            error = caught
        for bad in share_bad_images(loaded, error, bad_images):
            say(f"image replaced ({bad.reason}): {bad.description}")
        batch = {}
        for wanted in inputs.values():
            images, _, neighbours = loaded[wanted.name]
            batch[wanted.name] = images
            if neighbours is not None:
                batch[wanted.neighbour_name] = neighbours
        yield batch


def find_residences(plan: Plan, say: Say) -> dict[str, Residence]:
    """Return where the images of each input stay once they have been read; none if nowhere.

    Args:
        plan: Its ``data.keep`` decides.
        say: Told of how many images stay where.

    Raises:
        ConfigError: They do not fit where they are to stay.
    """
    read = {i.name: plan.sources[i.name] for i in inputs_read(plan.config.method).values()}
    rule, processes = _resize_rule(plan), here().size_here
    residences = choose_residences(plan.config, read, rule, processes=processes)
    if residences:
        say(describe_residences(residences, read))
    return residences


def kept_bytes(plan: Plan) -> int:
    """Return what the images that stay in memory will take; 0 if none do."""
    return expected_bytes(find_residences(plan, _say_nothing))


def _resize_rule(plan: Plan) -> ResizeRule:
    views = plan.config.method.views
    return ResizeRule(base_px=views.base_px, base=views.base)


def count_bad_images(plan: Plan) -> dict[str, BadImages]:
    """Return a new count of bad images for each input of the plan; one for one image set."""
    tolerated = plan.config.data.tolerated_bad_images
    counts = {id(s): BadImages(s.name, tolerated=tolerated) for s in plan.sources.values()}
    return {name: counts[id(source)] for name, source in plan.sources.items()}


def forecast(plan: Plan, say: Say) -> tuple[Plan, Forecast]:
    """Measure a few steps that are thrown away; settle the precision if it is open.

    They decode their images, as the first epoch does, also where later ones need not. To the
    memory that they take that of the images which are to stay is added.

    Returns:
        The plan with its precision resolved, and what the run is expected to cost.
    """
    wanted = plan.config.train.precision
    check_device(plan.config.train.device)
    check_shares(plan.config)
    kept = kept_bytes(plan)
    measured: dict[Precision, Measurement] = {}
    for precision in PRECISIONS if wanted is None else (wanted,):
        say(f"measuring some steps in {precision}{', of the first epoch' if kept else ''} ...")
        stream = open_stream(plan, count_bad_images(plan), start_step=0, say=_say_nothing)
        measured[precision] = measure(build_training(plan, precision), stream)
    chosen = max(measured, key=lambda precision: measured[precision].images_per_s)
    config = replace(plan.config, train=replace(plan.config.train, precision=chosen))
    resolved = replace(plan, config=config)
    cost = make_forecast(plan.total_steps, config.train.batch, chosen, measured)
    return resolved, replace(cost, peak_bytes=cost.peak_bytes + kept)


def _say_nothing(text: str) -> None:
    """Keep what the run itself will say."""
