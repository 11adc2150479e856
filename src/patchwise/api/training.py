"""Training a backbone on a folder of images, and what that would cost."""

import shlex
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from patchwise.api.member import member_command
from patchwise.api.nearby import find_nearby, read_nearby, refresher, write_nearby
from patchwise.api.planning import Images, Request, Settings, fitted, new_plan, resumed_plan
from patchwise.api.validation import is_scored, open_validation, read_evaluations, score_table
from patchwise.configs.loader import read_settings
from patchwise.configs.run import RunConfig
from patchwise.data.layouts.place import absolute_name
from patchwise.data.source import ImageSource
from patchwise.training.folder import RunFolder
from patchwise.training.forecast import Forecast
from patchwise.training.launch import several
from patchwise.training.plan import Plan, forecast
from patchwise.training.processes import here
from patchwise.training.progress import duration
from patchwise.training.run import TrainResult, execute, read_results

SCENES = "scenes"  # as validation: the synthetic scenes' own masks


def train(  # noqa: PLR0913 - the one call of the library
    data: str | Path,
    *,
    out: str | Path,
    recipe: str | None = None,
    init: str | Path | None = None,
    objects: str | Path | None = None,
    neighbours_by: str | Path | None = None,
    neighbours_cache: str | Path | None = None,
    settings: Settings | None = None,
    config: str | Path | None = None,
    val: str | Path | None = None,
    fit: str | None = None,
    resume: bool = False,
    processes: int = 1,
    quiet: bool = False,
) -> TrainResult:
    """Train a backbone on unlabelled images.

    Args:
        data: A folder, a tar, a text file of paths, or ``"scenes"``: see `open_source`.
        out: Folder of the run; new, or that of the run to resume.
        recipe: Name of a set of settings, ``"small"`` if None; `patchwise list` shows them.
        init: Weights to begin with, ours or published ones (see `load_backbone`); None: random
            ones. CoTAP needs some.
        objects: A second image set, for CoTAP's head of whole images, best of one object each;
            None: ``data`` again.
        neighbours_by: Weights by whose features CoTAP's neighbours are found; None: ``init``.
        neighbours_cache: Folder where they are kept for other runs; None: they are kept in this
            run's folder alone.
        settings: Options to change, by dotted name: ``{"train.epochs": 20}``.
        config: TOML file of options to change; ``settings`` go over it.
        val: Labelled images, by class or by pixel (see `evaluate`), or ``"scenes"``: scored by
            k-NN on the way, and by all short protocols before and after. Also with ``resume``.
        fit: Memory of the training process, or of the GPU, that must suffice: ``"8GiB"``. How a
            batch is worked off is chosen by measuring, see `fit_memory`; what is computed stays.
        resume: Go on from the newest checkpoint in ``out`` with the settings written there. Of
            the other options only ``settings`` that do not change the result can be given:
            those of `HOUSEKEEPING`.
        processes: On this machine, each with a part of every batch and, on CUDA, with a GPU of
            its own; 1 under torchrun and SLURM, which start them. See docs/processes.md.
        quiet: Print nothing.

    Returns:
        What the run came to. ``complete`` is False if it was stopped by Ctrl-C or SIGTERM.

    Raises:
        PatchwiseError: Data, settings or weights cannot be used, or training failed; the
            message says what to do.
    """
    given = {name: value for name, value in locals().items() if name != "processes"}
    with several(processes, member_command("train", given)):
        return _train(**given)


def _train(  # noqa: PLR0913 - as `train`
    data: str | Path,
    *,
    out: str | Path,
    recipe: str | None,
    init: str | Path | None,
    objects: str | Path | None,
    neighbours_by: str | Path | None,
    neighbours_cache: str | Path | None,
    settings: Settings | None,
    config: str | Path | None,
    val: str | Path | None,
    fit: str | None,
    resume: bool,
    quiet: bool,
) -> TrainResult:
    """Do what `train` says, as one of its processes."""
    console = _console(quiet)
    folder = RunFolder(Path(out).expanduser())
    images = Images.open(data, objects)
    if resume:
        given = {"recipe": recipe, "config": config, "init": init, "fit": fit}
        given |= {"neighbours_by": neighbours_by, "neighbours_cache": neighbours_cache}
        plan = resumed_plan(folder, images, given, settings or {})
        val = folder.read()[1].get("val") if val is None else val
        if folder.results.exists():
            console.print(f"{folder.path} is complete already")
            return _scored_by_first(folder, val, plan.config, console)
        validation = None if val is None else open_validation(val, plan.config)
        for change in folder.changed_environment(plan.config.train.device):
            console.print(f"not as when the run began, so not to the last bit: {change}")
    else:
        here().on_first(folder.require_empty)
        changes = _settings(settings, config)
        plan = new_plan(images, Request(recipe, init, changes), console)
        plan = fitted(plan, fit, console)
        validation = None if val is None else open_validation(val, plan.config)
        if validation is not None and here().first:
            validation.quick(plan.initial)  # what is wrong with the labels shows before the run
        plan = _forecast(plan, console)[0]
        identity = _identity(images, (data, objects), val)

        def begin() -> None:
            found = find_nearby(plan, by=neighbours_by, cache=neighbours_cache, say=console.print)
            folder.create(plan.config, identity, plan.initial)
            write_nearby(found, plan, folder)

        here().on_first(begin)
    quick = None if validation is None else validation.quick
    plan = replace(plan, neighbours=read_nearby(plan, folder))
    refresh = refresher(plan, folder, console.print)
    result = execute(plan, folder, validate=quick, refresh=refresh, console=console)
    _say_how_it_ended(result, (data, objects), console)
    if not result.complete:
        return result
    return _scored_by_first(folder, val, plan.config, console)


def forecast_training(  # noqa: PLR0913 - as `train`
    data: str | Path,
    *,
    recipe: str | None = None,
    init: str | Path | None = None,
    objects: str | Path | None = None,
    settings: Settings | None = None,
    config: str | Path | None = None,
    fit: str | None = None,
    processes: int = 1,
    quiet: bool = False,
) -> tuple[RunConfig, Forecast]:
    """Return the resolved settings of a run and what it would cost; train nothing.

    Arguments are those of `train`.
    """
    given = {name: value for name, value in locals().items() if name != "processes"}
    with several(processes, member_command("forecast_training", given)):
        console = _console(quiet)
        wanted = Request(recipe, init, _settings(settings, config))
        plan = fitted(new_plan(Images.open(data, objects), wanted, console), fit, console)
        plan, cost = _forecast(plan, console)
        return plan.config, cost


def _scored_by_first(
    folder: RunFolder, val: str | Path | None, config: RunConfig, console: Console
) -> TrainResult:
    """Let the first process score a complete run; return the results on all."""
    scored = partial(_scored, folder, val, config, console)
    return TrainResult(**here().from_first(lambda: asdict(scored())))


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
    quiet = quiet or not here().first
    return Console(stderr=True, quiet=quiet, markup=False, highlight=False, soft_wrap=True)


def _settings(settings: Settings | None, config: str | Path | None) -> dict[str, Any]:
    file = {} if config is None else read_settings(Path(config).expanduser())
    return {**file, **(settings or {})}


def _forecast(plan: Plan, console: Console) -> tuple[Plan, Forecast]:
    resolved, cost = forecast(plan, console.print)
    console.print(_describe_cost(cost))
    if plan.neighbours:
        console.print("to which comes the search for neighbours: one look at every image first")
    return resolved, cost


def _identity(
    images: Images, names: tuple[str | Path, str | Path | None], val: str | Path | None
) -> dict[str, Any]:
    identity = _identify(images.main, names[0])
    identity["val"] = val if val is None or val == SCENES else absolute_name(val)
    if images.objects is not None:
        identity["objects"] = _identify(images.objects, str(names[1]))
    return identity


def _identify(source: ImageSource, name: str | Path) -> dict[str, Any]:
    return {"data": str(name), "images": len(source), "fingerprint": source.fingerprint()}


def _describe_cost(cost: Forecast) -> str:
    tried = ", ".join(f"{name} {speed:.0f}" for name, speed in cost.measured.items())
    return (
        f"forecast: {cost.steps} steps, {cost.images} images at {cost.images_per_s:.0f} images/s "
        f"in {cost.precision} (measured: {tried}), {duration(cost.seconds)}, "
        f"peak memory {cost.peak_bytes / 2**30:.1f} GiB"
    )


def _say_how_it_ended(
    result: TrainResult, names: tuple[str | Path, str | Path | None], console: Console
) -> None:
    folder = RunFolder(Path(result.out))
    if result.complete:
        console.print(f"done: {folder.backbone}")
    else:
        data, objects = names
        again = ["patchwise", "train", str(data), "--out", result.out, "--resume"]
        again += [] if objects is None else ["--objects", str(objects)]
        again += ["--processes", str(here().size)] if here().size > 1 else []
        console.print(
            f"stopped after step {result.steps} of {result.total_steps}; go on with\n"
            f"  {shlex.join(again)}"
        )
    for reason, count in result.bad_images.items():
        console.print(f"{count} images could not be used: {reason}")
