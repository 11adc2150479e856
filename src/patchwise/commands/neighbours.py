"""`patchwise neighbours`."""

from pathlib import Path
from typing import Annotated, Optional

import typer


def neighbours(  # noqa: PLR0913 - one parameter an option
    data: Annotated[str, typer.Argument(help="Folder, tar, text file of paths, or scenes.")],
    model: Annotated[
        str,
        typer.Option(
            help="Whose features: weights file (or LAYOUT:FILE), folder of a run or of weights, "
            "hub:OWNER/NAME, module:name or file.py:name."
        ),
    ],
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours of each image.")] = 7,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A .html or .png file that shows some images with their neighbours."),
    ] = None,
    cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder where features and neighbours are kept, to be used again."),
    ] = None,
    size: Annotated[
        str,
        typer.Option(help="square:PX, short:PX, most:PX (of the short side), own or crop:PX,PX."),
    ] = "square:224",
    duplicates: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=-1, max=1, help="Leave out neighbours of this cosine or more. Default: none."
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Images of each picture in --out.")] = 8,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="cpu or cuda; by default a GPU if there is one."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images that the model sees at a time.")] = 32,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Processes that read. Default: 1; with a GPU, cores less one."),
    ] = None,
    tolerated: Annotated[int, typer.Option(min=0, help="Bad images that are left out.")] = 10,
) -> None:
    """Find the nearest images of each image, and show them."""
    from patchwise import api
    from patchwise.configs.neighbours import NeighboursConfig

    found = api.neighbours(
        data,
        model=model,
        settings=NeighboursConfig(k=k, size=size, duplicate_cosine=duplicates),
        out=out,
        cache=cache,
        device=device,
        batch=batch,
        workers=workers,
        tolerated=tolerated,
        rows=rows,
    )
    typer.echo(api.describe_neighbours(found, data))
    if out is not None:
        typer.echo(out)
