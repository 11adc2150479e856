"""`patchwise embed`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Part(StrEnum):
    """The parts of labelled images."""

    fit = "fit"
    test = "test"


def embed(  # noqa: PLR0913 - one parameter an option
    model: Annotated[
        str,
        typer.Argument(
            help="Weights file (or LAYOUT:FILE), folder of a run or of weights, hub:OWNER/NAME, "
            "module:name or file.py:name."
        ),
    ],
    data: Annotated[str, typer.Argument(help="Folder, tar, text file of paths, or scenes.")],
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    patches: Annotated[bool, typer.Option("--patches", help="Patch features too.")] = False,
    size: Annotated[
        str,
        typer.Option(help="square:PX, short:PX, most:PX (of the short side), own or crop:PX,PX."),
    ] = "most:448",
    window: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Side of the windows in which larger images are seen, pixels."),
    ] = None,
    stride: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="From one window to the next, pixels. Default: half a window."),
    ] = None,
    part: Annotated[
        Optional[Part],  # noqa: UP045
        typer.Option(help="DATA is labelled: its images to learn from, or those to be scored."),
    ] = None,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="cpu or cuda; by default a GPU if there is one."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images that the model sees at a time.")] = 32,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Processes that read. Default: 1; with a GPU, cores less one."),
    ] = None,
) -> None:
    """Keep the features of images on the disk. Run it several times to share the work."""
    from patchwise import api

    store = api.embed(
        model,
        data,
        out=out,
        patches=patches,
        size=size,
        window=window,
        stride=stride,
        part=None if part is None else part.value,
        device=device,
        batch=batch,
        workers=workers,
    )
    typer.echo(api.describe_store(store))
