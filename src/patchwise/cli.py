"""The command line: parses, calls the library, prints. No logic of its own.

Exit codes: 0 done, 1 failure, 2 wrong usage, 75 stopped on request and resumable.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from patchwise.commands import scoring
from patchwise.commands.embed import embed
from patchwise.commands.neighbours import neighbours
from patchwise.commands.scoring import STOPPED
from patchwise.errors import ChoiceError, ConfigError, PatchwiseError
from patchwise.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Dense self-supervised vision: a folder of images in, a backbone with good patch "
    "features out.",
)

Recipe = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="A named set of settings: see `patchwise list`. Default: small."),
]
Init = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Weights to begin with: ours or published ones, a file (LAYOUT:FILE says how to "
        "read it), a folder, or hub:OWNER/NAME."
    ),
]
Val = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Labelled images, by class or by pixel, or scenes: scores the run."),
]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="Change an option; may be repeated."),
]
ConfigFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--config", help="TOML file of options to change; --set goes over it."),
]


class Topic(StrEnum):
    """What `patchwise list` can show."""

    recipes = "recipes"
    options = "options"
    protocols = "protocols"


@app.command()
def train(  # noqa: PLR0913 - one parameter an option
    data: Annotated[str, typer.Argument(help="Folder, tar, text file of paths, or scenes.")],
    out: Annotated[Optional[Path], typer.Option(help="Folder of the run.")] = None,  # noqa: UP045
    recipe: Recipe = None,
    init: Init = None,
    objects: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Images for CoTAP's head of whole images. Default: DATA."),
    ] = None,
    neighbours_by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Weights by which CoTAP's neighbours are found. Default: --init."),
    ] = None,
    neighbours_cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder where neighbours are kept, to be used by other runs."),
    ] = None,
    val: Val = None,
    settings: Set = None,
    config: ConfigFile = None,
    fit: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Memory that must suffice, such as 8GiB: chooses how a step is made."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    processes: Annotated[
        int, typer.Option(help="On this machine, each with a part of every batch and its own GPU.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print settings and forecast, and stop there.")
    ] = False,
) -> None:
    """Train a backbone on unlabelled images."""
    from patchwise import api
    from patchwise.configs.loader import dump_toml, parse_settings

    changes = parse_settings(settings or [])
    if dry_run:
        if resume:
            raise typer.BadParameter("--dry-run and --resume cannot go together")
        if val is not None:
            api.open_labels(val)
        resolved, _ = api.forecast_training(
            data,
            recipe=recipe,
            init=init,
            objects=objects,
            settings=changes,
            config=config,
            fit=fit,
            processes=processes,
        )
        typer.echo(dump_toml(resolved))
        return
    if out is None:
        raise typer.BadParameter("--out must name the folder of the run")
    result = api.train(
        data,
        out=out,
        recipe=recipe,
        init=init,
        objects=objects,
        neighbours_by=neighbours_by,
        neighbours_cache=neighbours_cache,
        settings=changes,
        config=config,
        val=val,
        fit=fit,
        resume=resume,
        processes=processes,
    )
    if not result.complete:
        raise typer.Exit(STOPPED)


app.command("eval")(scoring.eval_)
app.command()(scoring.compare)
app.command()(embed)
app.command()(neighbours)


@app.command()
def doctor(  # noqa: PLR0913 - one parameter an option
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Folder, tar, text file of paths, or scenes."),
    ] = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Processes that read images. Default: one for each core."),
    ] = None,
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Read at most so many images, evenly spread."),
    ] = None,
    forecast: Annotated[
        bool, typer.Option(help="Measure some steps of training, to say what it will take.")
    ] = True,
    write_list: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="New .txt file for the good images without copies, to train on."),
    ] = None,
    env: Annotated[
        bool, typer.Option("--env", help="Show program, packages and machine, for a bug report.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check images before training: what is wrong with them, and how to train on them."""
    if env == (data is not None):
        raise typer.BadParameter("give either DATA or --env")
    if data is None:
        from patchwise.environment import inspect_environment

        environment = inspect_environment()
        typer.echo(environment.to_json() if as_json else environment.to_text())
        return
    from patchwise import api
    from patchwise.checkup.render import print_report

    report = api.doctor(
        data, workers=workers, limit=limit, forecast=forecast, write_list=write_list
    )
    if as_json:
        typer.echo(report.to_json())
    else:
        print_report(report, Console(highlight=False, markup=False))
    if not report.usable:
        raise typer.Exit(1)


@app.command("list")
def list_(
    topic: Annotated[Topic, typer.Argument(help="What to show.")] = Topic.recipes,
) -> None:
    """Show the recipes, the protocols, or all options with their defaults."""
    from patchwise import listing

    console = Console()
    tables = {
        Topic.recipes: listing.recipes,
        Topic.options: listing.options,
        Topic.protocols: listing.protocols,
    }
    console.print(tables[topic]())


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The file; RUN/report.html by default."),
    ] = None,
) -> None:
    """Write one HTML file that shows what a run has done."""
    from patchwise import api

    typer.echo(api.report(run, out=out))


@app.command()
def views(  # noqa: PLR0913 - one parameter an option
    image: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option(help="A .png or .html file.")],
    recipe: Recipe = None,
    settings: Set = None,
    config: ConfigFile = None,
    seed: Annotated[Optional[int], typer.Option(help="Of the draws.")] = None,  # noqa: UP045
    size: Annotated[int, typer.Option(help="Long side of each image of a PNG, pixels.")] = 240,
) -> None:
    """Show what training is shown of an image: views, boxes, recoloured and matched patches."""
    from patchwise import api
    from patchwise.configs.loader import parse_settings

    changes = parse_settings(settings or [])
    path = api.views(
        image, out=out, recipe=recipe, settings=changes, config=config, seed=seed, tile_px=size
    )
    typer.echo(path)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Of initial weights, order and views.")] = 0,
    short: Annotated[
        bool, typer.Option("--short", help="A minute instead of several: shows that it runs.")
    ] = False,
) -> None:
    """Train on synthetic scenes and show by how much patch features get better."""
    from patchwise.demo import demo as run_demo

    result = run_demo(out, seed=seed, short=short)
    if not result.train.complete:
        raise typer.Exit(STOPPED)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"patchwise {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; turn expected errors into a message and an exit code."""
    try:
        app()
    except (ConfigError, ChoiceError) as error:
        _fail(error, 2)
    except (PatchwiseError, OSError) as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)
