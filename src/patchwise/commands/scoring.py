"""`patchwise eval` and `patchwise compare`."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again
Text = Optional[str]  # noqa: UP045 - typer reads it

Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
AllCheckpoints = Annotated[
    bool,
    typer.Option(
        "--all-checkpoints",
        help="Score all that the run MODEL has kept, without labels, and single out the best; "
        "--data then names images that it was not trained on.",
    ),
]


def eval_(  # noqa: PLR0913 - one parameter an option
    model: Annotated[
        str,
        typer.Argument(
            help="Weights file (or LAYOUT:FILE), folder of a run or of weights, hub:OWNER/NAME, "
            "module:name or file.py:name."
        ),
    ],
    data: Annotated[
        Text, typer.Option(help="Images, with labels if they are needed; or scenes.")
    ] = None,
    protocol: Annotated[Text, typer.Option(help="See `patchwise list protocols`.")] = None,
    suite: Annotated[Text, typer.Option(help="Several protocols: dense, global or health.")] = None,
    short: Annotated[
        bool, typer.Option("--short", help="The short forms of the suite, for small machines.")
    ] = False,
    seeds: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Run with the seeds 0 to N - 1: mean and standard deviation."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="JSON file of results; what it holds already is not measured again."),
    ] = None,
    name: Annotated[Text, typer.Option(help="What results call the model.")] = None,
    device: Annotated[
        Text, typer.Option(help="cpu or cuda; by default a GPU if there is one.")
    ] = None,
    features: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of stored features, which are used and added to."),
    ] = None,
    memory: Annotated[
        Text, typer.Option(help="For what is held besides model and images, such as 4GiB.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images that the model sees at a time.")] = 32,
    settings: Set = None,
    all_checkpoints: AllCheckpoints = False,
) -> None:
    """Score a backbone by a named protocol or by a suite, or choose among a run's checkpoints."""
    if [protocol is not None, suite is not None, all_checkpoints].count(True) != 1:
        raise typer.BadParameter("give one of --protocol, --suite and --all-checkpoints")
    if all_checkpoints and (out is not None or seeds is not None):
        raise typer.BadParameter("--all-checkpoints writes into the run: no --out, no --seeds")
    if short and suite is None:
        raise typer.BadParameter("--short goes with --suite; short protocols have their own names")
    from patchwise import api
    from patchwise.configs.loader import parse_settings

    changes = parse_settings(settings or [])
    if all_checkpoints:
        choice = api.choose_checkpoint(model, data=data, settings=changes, device=device)
        Console().print(api.describe_choice(choice))
        return
    names = (protocol,) if protocol is not None else api.protocols_of(str(suite), short=short)
    subject = api.open_subject(
        model, name=name, device=device, features=features, memory=memory, batch=batch
    )
    try:
        results = api.evaluate_many(
            subject,
            protocols=names,
            data=model if data is None and protocol == "health/run" else data,
            seeds=seeds,
            settings=changes,
            out=out,
            say=lambda line: typer.echo(line, err=True),
        )
    except KeyboardInterrupt:
        if out is None:
            raise
        typer.echo(f"stopped; what is done is in {out}: the same command goes on", err=True)
        raise typer.Exit(STOPPED) from None
    if results:
        Console().print(api.describe_results(results))
    if len(results) < len(names) * (seeds or 1):
        raise typer.Exit(1)


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Files of results, or folders of runs; or one of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain why scores differ: weights, data, protocol, version, which setting."""
    from patchwise import api

    found = api.compare(results)
    if as_json:
        typer.echo(api.comparisons_as_json(found))
    else:
        Console(highlight=False).print(api.describe_comparisons(found))
