"""From what a user asks of a run to a plan that can be trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from patchwise.api.models import require_plain
from patchwise.api.post_training import check_post_training, note_on_prototypes
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.loader import apply_settings
from patchwise.configs.methods import MethodConfig
from patchwise.configs.run import RunConfig
from patchwise.data.reader import NearestIds
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import CheckpointError, ConfigError
from patchwise.methods import METHODS
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights import describe_loaded, load_backbone, read_backbone
from patchwise.recipes import Facts, make_config, read_facts
from patchwise.training.fit import fit_memory, parse_bytes
from patchwise.training.folder import RunFolder
from patchwise.training.plan import Plan, kept_bytes, make_plan
from patchwise.training.processes import here

Settings = Mapping[str, Any]
Weights = ViT | FilteredViT
DEFAULT_RECIPE = "small"
HOUSEKEEPING = (
    "data.keep",
    "data.tolerated_bad_images",
    "data.workers",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.log_every_steps",
)
_MOST_KEPT = 0.25  # share of a limit of memory that images may take


@dataclass(frozen=True)
class Images:
    """The image sets of a run."""

    main: ImageSource
    objects: ImageSource | None = None  # for CoTAP's second branch; None: the main ones as well

    @classmethod
    def open(cls, data: str | Path, objects: str | Path | None) -> "Images":
        """Open them by what names them; see `open_source`."""
        return cls(open_source(data), None if objects is None else open_source(objects))

    @property
    def per_epoch(self) -> int:
        """Images of each set in an epoch, which ends with the smaller one."""
        return min(len(source) for source in (self.main, self.objects) if source is not None)

    def by_input(self, method: str) -> dict[str, ImageSource]:
        """Return the images of each input of a method.

        Raises:
            ConfigError: There are more image sets than inputs.
        """
        names = [wanted.name for wanted in METHODS[method].inputs]
        if self.objects is not None and len(names) == 1:
            raise ConfigError(
                f"train: objects must be left out with the method {method}, which trains on one "
                f"image set, got {self.objects.name}"
            )
        return {
            name: self.main if not number else self.objects or self.main
            for number, name in enumerate(names)
        }


@dataclass(frozen=True)
class Request:
    """What a user asks of a new run."""

    recipe: str | None
    init: str | Path | None
    settings: dict[str, Any]


def new_plan(images: Images, wanted: Request, console: Console) -> Plan:
    """Return the plan of a new run. Neighbours, where the method wants some, are made up.

    So that it can be forecast before they are searched for.
    """
    settings = wanted.settings
    weights = None if wanted.init is None else _initial_weights(wanted.init, console)
    vit = weights.vit if isinstance(weights, FilteredViT) else weights
    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = replace(
        read_facts(images.main, settings.get("train.device", device)),
        images=images.per_epoch,
        init=None if vit is None else vit.config,
        batch=settings.get("train.batch"),
        epochs=settings.get("train.epochs"),
    )
    config = apply_settings(make_config(wanted.recipe or DEFAULT_RECIPE, facts), settings)
    if vit is not None:
        config = _with_weights(config, vit, settings)
    console.print(_describe(config, facts, images))
    sources = images.by_input(config.method.name)
    continued = _continuable(weights, wanted.init, config.method)
    check_post_training(config, sources)
    plan = make_plan(config, sources, continued, stand_in_neighbours(images, config.method))
    note = note_on_prototypes(plan)
    if note is not None:
        console.print(note, style="yellow")
    return plan


def stand_in_neighbours(images: Images, method: MethodConfig) -> dict[str, NearestIds]:
    """Return the image that comes next as every image's neighbour, where neighbours are wanted."""
    sources = images.by_input(method.name)
    return {
        wanted.name: np.roll(np.arange(len(sources[wanted.name])), -1)[:, None]
        for wanted in METHODS[method.name].inputs
        if wanted.neighbours
    }


def _initial_weights(init: str | Path, console: Console) -> Weights:
    loaded = read_backbone(init)
    note = describe_loaded(loaded)
    if note is not None:
        console.print(f"init: {note}")
    return loaded.backbone


def _continuable(
    weights: Weights | None, name: str | Path | None, method: MethodConfig
) -> Weights | None:
    """Return weights if the method can go on from them.

    Raises:
        ConfigError: It cannot; the message says what can be done.
    """
    if not isinstance(method, CoTAPConfig):
        return None if weights is None else require_plain(weights, str(name))
    if weights is None:
        raise ConfigError(
            f"train: init must be the weights that {method.name} is to improve, got none; pass "
            f"--init WEIGHTS, ours or published ones, or train some with --recipe small"
        )
    if isinstance(weights, FilteredViT):
        own = len(weights.filter.prototypes)
        if method.filter_prototypes != own:
            raise ConfigError(
                f"config: key 'method.filter_prototypes' must be that of the weights, {own}, got "
                f"{method.filter_prototypes}; use --set method.filter_prototypes={own}"
            )
    return weights


def fitted(plan: Plan, fit: str | None, console: Console) -> Plan:
    """Return the plan with the batch worked off so that it fits, where that is asked for."""
    if fit is None:
        return plan
    if here().size > 1:
        raise ConfigError(
            f"train: fit must be left out with several processes, got {fit!r} with {here().size}; "
            f"try one with their part of the batch, and set what it chose"
        )
    limit = parse_bytes(fit)
    kept, data = kept_bytes(plan), plan.config.data
    if data.keep == "auto" and kept > limit * _MOST_KEPT:
        data, kept = replace(data, keep="none"), 0
    found = fit_memory(plan.config, limit - kept, console.print)
    train, method = found.config.train, found.config.method
    console.print(
        f"fit: {found.images} of {train.batch} images at a time"
        + (", activations computed again" if train.recompute else "")
        + (f", {method.views_per_pass} view at a time" if method.views_per_pass else "")
        + f": {found.need.bytes / 2**30:.2f} GiB measured"
        + (f", and {kept / 2**30:.2f} GiB for images" if kept else "")
    )
    if train.accumulate > 1 and isinstance(method, CoTAPConfig):
        console.print("note: CoTAP assigns and ranks the patches of each part on its own")
    chosen = replace(
        plan.config,
        data=data,
        method=method,
        train=replace(train, precision=plan.config.train.precision),
    )
    return replace(plan, config=chosen)


def _with_weights(config: RunConfig, weights: ViT, settings: Settings) -> RunConfig:
    """Take the architecture from the weights; only stochastic depth stays free."""
    changed = [n for n in settings if n.startswith("backbone.") and n != "backbone.drop_path"]
    if changed:
        raise ConfigError(
            f"config: key {changed[0]!r} must be left out with init, got "
            f"{settings[changed[0]]!r}; the architecture is that of the weights"
        )
    return replace(config, backbone=replace(weights.config, drop_path=config.backbone.drop_path))


def resumed_plan(
    folder: RunFolder, images: Images, given: dict[str, Any], settings: Settings
) -> Plan:
    """Return the plan of an existing run."""
    config, identity = folder.read()
    wrong = [name for name, value in given.items() if value is not None]
    wrong += [name for name in settings if name not in HOUSEKEEPING]
    if wrong:
        raise ConfigError(
            f"train: {wrong[0]} must be left out with resume, got {wrong[0]}; a resumed run keeps "
            f"what is in its folder, but for {', '.join(HOUSEKEEPING)}"
        )
    _check_images(folder, images.main, identity, "data")
    objects = identity.get("objects")
    if (images.objects is None) != (objects is None):
        raise CheckpointError(
            f"train: objects must be as when the run began, got "
            f"{images.objects and images.objects.name} for {objects and objects['data']}"
        )
    if images.objects is not None and objects is not None:
        _check_images(folder, images.objects, objects, "objects")
    if settings:
        config = apply_settings(config, settings)
        here().on_first(partial(folder.write_config, config))
    return make_plan(
        config,
        images.by_input(config.method.name),
        _continuable(load_backbone(folder.initial), folder.initial, config.method),
        stand_in_neighbours(images, config.method),
    )


def _check_images(
    folder: RunFolder, source: ImageSource, identity: Mapping[str, Any], name: str
) -> None:
    """Raise a CheckpointError if these are not the images that the run began with."""
    if identity["fingerprint"] != source.fingerprint():
        raise CheckpointError(
            f"train: {name} must be the images that the run began with ({identity['images']} "
            f"images of {identity['data']}), got {len(source)} images of {source.name} that differ "
            f"from them; restore them, or start a new run with --init {folder.backbone}"
        )


def _describe(config: RunConfig, facts: Facts, images: Images) -> str:
    vit, method, views = config.backbone, config.method, config.method.views
    objects, source = images.objects, images.main
    return (
        f"{len(source)} images of {source.name} (short side {facts.short_side_px} px)\n"
        + (f"{len(objects)} images of {objects.name} for the images' head\n" if objects else "")
        + f"recipe {config.recipe}: {method.name}, ViT {vit.dim} wide, {vit.depth} deep, patch "
        f"{vit.patch_px}; views 2 x {views.global_px} + {views.local_count} x {views.local_px} px; "
        f"{_prototypes(method)} prototypes; batch {config.train.batch}, "
        f"{config.train.epochs:g} epochs on {config.train.device}"
    )


def _prototypes(method: MethodConfig) -> str:
    if isinstance(method, CoTAPConfig):
        return (
            f"{method.filter_prototypes} (filter), {method.patch_prototypes} (patches) and "
            f"{method.image_prototypes} (images)"
        )
    return str(method.prototypes)
