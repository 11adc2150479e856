"""Training a backbone on a folder of images, and what that would cost."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from patchwise.api.models import require_plain
from patchwise.api.validation import is_scored, open_validation, read_evaluations, score_table
from patchwise.configs.loader import apply_settings, read_settings
from patchwise.configs.run import RunConfig
from patchwise.data.layouts.place import absolute_name
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import CheckpointError, ConfigError
from patchwise.models.vit import ViT
from patchwise.models.weights import describe_loaded, load_backbone, read_backbone
from patchwise.recipes import Facts, make_config, read_facts
from patchwise.training.fit import fit_memory, parse_bytes
from patchwise.training.folder import RunFolder
from patchwise.training.forecast import Forecast
from patchwise.training.plan import Plan, forecast, kept_bytes, make_plan
from patchwise.training.progress import duration
from patchwise.training.run import TrainResult, execute, read_results

Settings = Mapping[str, Any]
DEFAULT_RECIPE = "small"
_MOST_KEPT = 0.25  # share of a limit of memory that images may take
SCENES = "scenes"  # as validation: the synthetic scenes' own masks
HOUSEKEEPING = (
    "data.keep",
    "data.tolerated_bad_images",
    "data.workers",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.log_every_steps",
)


def train(  # noqa: PLR0913 - the one call of the library
    data: str | Path,
    *,
    out: str | Path,
    recipe: str | None = None,
    init: str | Path | None = None,
    settings: Settings | None = None,
    config: str | Path | None = None,
    val: str | Path | None = None,
    fit: str | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainResult:
    """Train a backbone on unlabelled images.

    Args:
        data: A folder, a tar, a text file of paths, or ``"scenes"``: see `open_source`.
        out: Folder of the run; new, or that of the run to resume.
        recipe: Name of a set of settings, ``"small"`` if None; `patchwise list` shows them.
        init: Weights to begin with, ours or published ones (see `load_backbone`); None: random
            ones.
        settings: Options to change, by dotted name: ``{"train.epochs": 20}``.
        config: TOML file of options to change; ``settings`` go over it.
        val: Labelled images, by class or by pixel (see `evaluate`), or ``"scenes"``: scored by
            k-NN on the way, and by all short protocols before and after. Also with ``resume``.
        fit: Memory of the training process, or of the GPU, that must suffice: ``"8GiB"``. How a
            batch is worked off is chosen by measuring, see `fit_memory`; what is computed stays.
        resume: Go on from the newest checkpoint in ``out`` with the settings written there. Of
            the other options only ``settings`` that do not change the result can be given:
            those of `HOUSEKEEPING`.
        quiet: Print nothing.

    Returns:
        What the run came to. ``complete`` is False if it was stopped by Ctrl-C or SIGTERM.

    Raises:
        PatchwiseError: Data, settings or weights cannot be used, or training failed; the
            message says what to do.
    """
    console = _console(quiet)
    folder = RunFolder(Path(out).expanduser())
    source = open_source(data)
    if resume:
        given = {"recipe": recipe, "config": config, "init": init, "fit": fit}
        plan, began_with = _resumed_plan(folder, source, given, settings or {})
        val = began_with if val is None else val
        if folder.results.exists():
            console.print(f"{folder.path} is complete already")
            return _scored(folder, val, plan.config, console)
        validation = None if val is None else open_validation(val, plan.config)
        for change in folder.changed_environment(plan.config.train.device):
            console.print(f"not as when the run began, so not to the last bit: {change}")
    else:
        folder.require_empty()
        changes = _settings(settings, config)
        plan = _fitted(_new_plan(source, recipe, init, changes, console), fit, console)
        validation = None if val is None else open_validation(val, plan.config)
        if validation is not None:
            validation.quick(plan.initial)  # what is wrong with the labels shows before the run
        plan = _forecast(plan, console)[0]
        folder.create(plan.config, _identity(source, data, val), plan.initial)
    quick = None if validation is None else validation.quick
    result = execute(plan, folder, validate=quick, console=console)
    _say_how_it_ended(result, data, console)
    return _scored(folder, val, plan.config, console) if result.complete else result


def forecast_training(  # noqa: PLR0913 - as `train`
    data: str | Path,
    *,
    recipe: str | None = None,
    init: str | Path | None = None,
    settings: Settings | None = None,
    config: str | Path | None = None,
    fit: str | None = None,
    quiet: bool = False,
) -> tuple[RunConfig, Forecast]:
    """Return the resolved settings of a run and what it would cost; train nothing.

    Arguments are those of `train`.
    """
    console = _console(quiet)
    plan = _new_plan(open_source(data), recipe, init, _settings(settings, config), console)
    plan = _fitted(plan, fit, console)
    plan, cost = _forecast(plan, console)
    return plan.config, cost


def _scored(
    folder: RunFolder, val: str | Path | None, config: RunConfig, console: Console
) -> TrainResult:
    """Return the results of a complete run; score it first, where that is wanted and not done."""
    if val is not None and not is_scored(folder):
        try:
            open_validation(val, config).score_run(folder, config.train.device, console.print)
        except KeyboardInterrupt:
            console.print("stopped while it was scored; --resume goes on")
            return replace(read_results(folder), complete=False)
    evaluations = read_evaluations(folder)
    if evaluations:
        console.print(score_table(evaluations))
    return read_results(folder)


def _console(quiet: bool) -> Console:
    """Return a console for progress: names of files stay as they are, and stdout is left alone."""
    return Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)


def _settings(settings: Settings | None, config: str | Path | None) -> dict[str, Any]:
    file = {} if config is None else read_settings(Path(config).expanduser())
    return {**file, **(settings or {})}


def _new_plan(
    source: ImageSource,
    recipe: str | None,
    init: str | Path | None,
    settings: dict[str, Any],
    console: Console,
) -> Plan:
    weights = None if init is None else _initial_weights(init, console)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = replace(
        read_facts(source, settings.get("train.device", device)),
        init=None if weights is None else weights.config,
        batch=settings.get("train.batch"),
        epochs=settings.get("train.epochs"),
    )
    config = apply_settings(make_config(recipe or DEFAULT_RECIPE, facts), settings)
    if weights is not None:
        config = _with_weights(config, weights, settings)
    console.print(_describe(config, facts, source))
    return make_plan(config, source, weights)


def _initial_weights(init: str | Path, console: Console) -> ViT:
    loaded = read_backbone(init)
    note = describe_loaded(loaded)
    if note is not None:
        console.print(f"init: {note}")
    return require_plain(loaded.backbone, init)


def _fitted(plan: Plan, fit: str | None, console: Console) -> Plan:
    """Return the plan with the batch worked off so that it fits, where that is asked for."""
    if fit is None:
        return plan
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
    chosen = replace(
        plan.config,
        data=data,
        method=method,
        train=replace(train, precision=plan.config.train.precision),
    )
    return replace(plan, config=chosen)


def _forecast(plan: Plan, console: Console) -> tuple[Plan, Forecast]:
    resolved, cost = forecast(plan, console.print)
    console.print(_describe_cost(cost))
    return resolved, cost


def _with_weights(config: RunConfig, weights: ViT, settings: Settings) -> RunConfig:
    """Take the architecture from the weights; only stochastic depth stays free."""
    changed = [n for n in settings if n.startswith("backbone.") and n != "backbone.drop_path"]
    if changed:
        raise ConfigError(
            f"config: key {changed[0]!r} must be left out with init, got "
            f"{settings[changed[0]]!r}; the architecture is that of the weights"
        )
    return replace(config, backbone=replace(weights.config, drop_path=config.backbone.drop_path))


def _resumed_plan(
    folder: RunFolder, source: ImageSource, given: dict[str, Any], settings: Settings
) -> tuple[Plan, str | None]:
    """Return the plan of an existing run, and what it is validated on."""
    config, identity = folder.read()
    wrong = [name for name, value in given.items() if value is not None]
    wrong += [name for name in settings if name not in HOUSEKEEPING]
    if wrong:
        raise ConfigError(
            f"train: {wrong[0]} must be left out with resume, got {wrong[0]}; a resumed run keeps "
            f"what is in its folder, but for {', '.join(HOUSEKEEPING)}"
        )
    if identity["fingerprint"] != source.fingerprint():
        raise CheckpointError(
            f"train: data must be the images that the run began with ({identity['images']} images "
            f"of {identity['data']}), got {len(source)} images of {source.name} that differ from "
            f"them; restore them, or start a new run with --init {folder.backbone}"
        )
    if settings:
        config = apply_settings(config, settings)
        folder.write_config(config)
    return make_plan(
        config, source, require_plain(load_backbone(folder.initial), folder.initial)
    ), identity.get("val")


def _identity(source: ImageSource, data: str | Path, val: str | Path | None) -> dict[str, Any]:
    return {
        "data": str(data),
        "images": len(source),
        "fingerprint": source.fingerprint(),
        "val": val if val is None or val == SCENES else absolute_name(val),
    }


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
        again = ["patchwise", "train", str(data), "--out", result.out, "--resume"]
        console.print(
            f"stopped after step {result.steps} of {result.total_steps}; go on with\n"
            f"  {shlex.join(again)}"
        )
    for reason, count in result.bad_images.items():
        console.print(f"{count} images could not be used: {reason}")
