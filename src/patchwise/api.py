"""What users call: everything below, composed. The command line calls the same functions."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from patchwise.configs.loader import apply_settings, read_settings
from patchwise.configs.run import RunConfig
from patchwise.data.source import ImageSource, open_labelled, open_source
from patchwise.errors import CheckpointError, ConfigError, DataError
from patchwise.eval.images import knn_images
from patchwise.eval.knn import KNN
from patchwise.eval.scenes import backbone_patches, knn_scene_patches
from patchwise.models.vit import ViT
from patchwise.models.weights import load_backbone
from patchwise.recipes import Facts, make_config, read_facts
from patchwise.training.folder import RunFolder
from patchwise.training.forecast import Forecast
from patchwise.training.plan import Plan, forecast, make_plan
from patchwise.training.progress import duration
from patchwise.training.run import TrainResult, Validate, execute, read_results

Settings = Mapping[str, Any]


def train(  # noqa: PLR0913 - the one call of the library
    data: str | Path,
    *,
    out: str | Path,
    recipe: str = "small",
    init: str | Path | None = None,
    settings: Settings | None = None,
    config: str | Path | None = None,
    val: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainResult:
    """Train a backbone on unlabelled images.

    Args:
        data: A folder, a tar, a text file of paths, or ``"scenes"``: see `open_source`.
        out: Folder of the run; new, or that of the run to resume.
        recipe: Name of a set of settings; `patchwise list` shows them.
        init: Weights to begin with; None: random ones.
        settings: Options to change, by dotted name: ``{"train.epochs": 20}``.
        config: TOML file of options to change; ``settings`` go over it.
        val: Labelled images (class folders, or ``"scenes"``) that are classified by k-NN before,
            during and after training.
        resume: Go on from the newest checkpoint in ``out`` with the settings written there.
        quiet: Print nothing.

    Returns:
        What the run came to. ``complete`` is False if it was stopped by Ctrl-C or SIGTERM.

    Raises:
        PatchwiseError: Data, settings or weights cannot be used, or training failed; the
            message says what to do.
    """
    console = _console(quiet)
    folder = RunFolder(Path(out))
    source = open_source(data)
    if resume:
        given = [n for n, v in {"settings": settings, "config": config, "init": init}.items() if v]
        if given:
            raise ConfigError(
                f"train: settings, config and init must be left out with resume, got "
                f"{' and '.join(given)}; a resumed run keeps those in its config.toml"
            )
        plan, identity = _resumed_plan(folder, source)
        validate = _validation(identity["val"] if val is None else val, plan)
        if folder.results.exists():
            console.print(f"{folder.path} is complete already")
            return read_results(folder)
    else:
        folder.require_empty()
        plan, _ = _new_plan(source, recipe, init, _settings(settings, config), console)
        validate = _validation(val, plan)
        folder.create(plan.config, _identity(source, data, val))
    result = execute(plan, folder, validate=validate, console=console)
    _say_how_it_ended(result, data, console)
    return result


def forecast_training(
    data: str | Path,
    *,
    recipe: str = "small",
    init: str | Path | None = None,
    settings: Settings | None = None,
    config: str | Path | None = None,
    quiet: bool = False,
) -> tuple[RunConfig, Forecast]:
    """Return the resolved settings of a run and what it would cost; train nothing.

    Arguments are those of `train`.
    """
    source = open_source(data)
    plan, cost = _new_plan(source, recipe, init, _settings(settings, config), _console(quiet))
    return plan.config, cost


def _console(quiet: bool) -> Console:
    """Return a console that prints names of files as they are, whatever is in them."""
    return Console(quiet=quiet, markup=False, highlight=False, soft_wrap=True)


def _settings(settings: Settings | None, config: str | Path | None) -> dict[str, Any]:
    return {**(read_settings(Path(config)) if config is not None else {}), **(settings or {})}


def _new_plan(
    source: ImageSource,
    recipe: str,
    init: str | Path | None,
    settings: dict[str, Any],
    console: Console,
) -> tuple[Plan, Forecast]:
    weights = None if init is None else load_backbone(init)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = read_facts(source, settings.get("train.device", device))
    if weights is not None:
        facts = replace(facts, init=weights.config)
    config = apply_settings(make_config(recipe, facts), settings)
    if weights is not None:
        config = _with_weights(config, weights, settings)
    console.print(_describe(config, facts, source))
    plan, cost = forecast(make_plan(config, source, weights), console.print)
    console.print(_describe_cost(cost))
    return plan, cost


def _with_weights(config: RunConfig, weights: ViT, settings: Settings) -> RunConfig:
    """Take the architecture from the weights; only stochastic depth stays free."""
    changed = [n for n in settings if n.startswith("backbone.") and n != "backbone.drop_path"]
    if changed:
        raise ConfigError(
            f"config: key {changed[0]!r} must be left out with init, got "
            f"{settings[changed[0]]!r}; the architecture is that of the weights"
        )
    return replace(config, backbone=replace(weights.config, drop_path=config.backbone.drop_path))


def _resumed_plan(folder: RunFolder, source: ImageSource) -> tuple[Plan, dict[str, Any]]:
    config, identity = folder.read()
    if identity["fingerprint"] != source.fingerprint():
        raise CheckpointError(
            f"train: data must be the images that the run began with ({identity['images']} images "
            f"of {identity['data']}), got {len(source)} images of {source.name} that differ from "
            f"them; restore them, or start a new run with --init {folder.backbone}"
        )
    weights = load_backbone(folder.initial) if folder.initial.exists() else None
    return make_plan(config, source, weights), identity


def _identity(source: ImageSource, data: str | Path, val: str | Path | None) -> dict[str, Any]:
    return {
        "data": str(data),
        "images": len(source),
        "fingerprint": source.fingerprint(),
        "val": None if val is None else str(val),
    }


def _validation(val: str | Path | None, plan: Plan) -> Validate | None:
    """Return a function that scores a backbone on labelled images, if there are any."""
    if val is None:
        return None
    size_px = plan.config.method.views.global_px
    if str(val) == "scenes":
        return lambda backbone: {
            "knn_patches": knn_scene_patches(
                backbone_patches(backbone), patch_px=backbone.patch_px, size_px=size_px
            ).accuracy
        }
    source = open_labelled(val)
    if len(source) <= KNN().k:
        raise DataError(
            f"train: val must hold more than {KNN().k} images, got {len(source)} in {source.name}"
        )
    return lambda backbone: {"knn": knn_images(backbone, source, crop_px=size_px).accuracy}


def _describe(config: RunConfig, facts: Facts, source: ImageSource) -> str:
    vit, method, views = config.backbone, config.method, config.method.views
    return (
        f"{facts.images} images of {source.name} (short side {facts.short_side_px} px)\n"
        f"recipe {config.recipe}: {method.name}, ViT {vit.dim} wide, {vit.depth} deep, patch "
        f"{vit.patch_px}; views 2 x {views.global_px} + {views.local_count} x {views.local_px} px; "
        f"{method.prototypes} prototypes; batch {config.train.batch}, "
        f"{config.train.epochs:g} epochs on {config.train.device}"
    )


def _describe_cost(cost: Forecast) -> str:
    tried = ", ".join(f"{name} {speed:.0f}" for name, speed in cost.measured.items())
    return (
        f"forecast: {cost.steps} steps, {cost.images} images at {cost.images_per_s:.0f} images/s "
        f"in {cost.precision} (measured: {tried}), {duration(cost.seconds)}, "
        f"peak memory {cost.peak_bytes / 2**30:.1f} GiB"
    )


def _say_how_it_ended(result: TrainResult, data: str | Path, console: Console) -> None:
    folder = RunFolder(Path(result.out))
    if result.complete:
        console.print(f"done: {folder.backbone}")
    else:
        console.print(
            f"stopped after step {result.steps} of {result.total_steps}; go on with\n"
            f"  patchwise train {data} --out {result.out} --resume"
        )
    for reason, count in result.bad_images.items():
        console.print(f"{count} images could not be used: {reason}")
