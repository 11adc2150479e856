"""Which images are alike: found, described in a line or two, and shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from patchwise.api.models import Model, open_subject
from patchwise.checks import check_positive, check_within
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.source import ImageSource, open_source
from patchwise.environment import usable_cores
from patchwise.errors import DataError
from patchwise.features.embed import image_name
from patchwise.features.subject import Subject
from patchwise.files import atomic_path, write_text
from patchwise.index.kept import Neighbours
from patchwise.index.neighbours import find_neighbours
from patchwise.pictures.alike import Alike, alike_figures
from patchwise.pictures.sheet import draw_sheet
from patchwise.reporting.page import figures_page


def neighbours(  # noqa: PLR0913 - one option each
    data: str | Path | ImageSource,
    *,
    model: Model | Subject,
    settings: NeighboursConfig | None = None,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    device: str | None = None,
    batch: int = 32,
    workers: int | None = None,
    tolerated: int = 10,
    rows: int = 8,
) -> Neighbours:
    """Find the nearest images of each image, by global features of a frozen model.

    Args:
        data: Images as `open_source` opens them, or which are open.
        model: As `open_subject` takes it.
        settings: How many, by images of what size, and so on; None: CoTAP's.
        out: A ``.html`` or ``.png`` file that shows some images with their neighbours; None: none.
        cache: Folder where features and neighbours are kept, to be used again, and with which an
            interrupted search goes on; None: nothing is kept.
        device: Where a weights file is loaded to; None: a GPU if there is one.
        batch: Images that the model sees at a time.
        workers: Processes that read images ahead; None: 1, or with a GPU all cores but one.
        tolerated: As many images may be bad: they are left out.
        rows: Images of each picture in ``out``.

    Raises:
        PatchwiseError: Something cannot be used, or there are too few images.
    """
    check_positive("neighbours", batch=batch, rows=rows)
    path = None if out is None else Path(out).expanduser()
    if path is not None and path.suffix.lower() not in {".png", ".html"}:
        raise DataError(f"neighbours: out must end in .png or .html, got '{path}'")
    source = open_source(data) if isinstance(data, (str, Path)) else data
    subject = open_subject(model, device=device if not isinstance(model, Subject) else None)
    if workers is None:
        workers = 1 if subject.backbone.device.type == "cpu" else max(1, usable_cores() - 1)
    check_within("neighbours", 0, 1024, workers=workers)
    found = find_neighbours(
        replace(subject, batch=batch, workers=workers),
        source,
        settings or NeighboursConfig(),
        cache=None if cache is None else Path(cache).expanduser(),
        tolerated=tolerated,
    )
    if path is not None:
        facts = _facts(subject, source, settings or NeighboursConfig(), found)
        _show(path, found, source, facts, rows)
    return found


def describe_neighbours(found: Neighbours, source_name: str) -> str:
    """Return in some lines what was found."""
    good = ~np.isnan(found.cosines[:, 0])
    count, k = int(good.sum()), found.ids.shape[1]
    nearest = found.cosines[good, 0]
    chosen = np.bincount(found.ids[good].ravel(), minlength=len(found))[good]
    low, middle, high = np.quantile(nearest, (0.05, 0.5, 0.95))
    lines = [
        f"{k} neighbours of each of {count} images of {source_name!r}",
        f"cosine with the nearest one: median {middle:.3f}, of nine in ten between {low:.3f} and "
        f"{high:.3f}; {(nearest > 0.99).mean():.1%} above 0.99",
        f"neighbour of most: of {chosen.max()} images; {(chosen == 0).mean():.1%} of none",
    ]
    if found.lacking:
        lines.append(
            f"{found.lacking} images have fewer than {k} others that are no near-duplicates; "
            f"near-duplicates make up for it"
        )
    if found.recall is not None:
        lines.append(f"search in groups; it found {found.recall:.1%} of the true neighbours")
    if found.bad:
        lines.append(f"{len(found.bad)} bad images are left out:")
        lines += [f"  {bad.reason}: {bad.description!r}" for bad in found.bad]
    return "\n".join(lines)


def _facts(
    subject: Subject, source: ImageSource, settings: NeighboursConfig, found: Neighbours
) -> str:
    """Return how neighbours were found, as lines."""
    limit = settings.duplicate_cosine
    return "\n".join(
        [
            f"model: {subject.identity.name} {(subject.identity.sha256 or '')[:8]}",
            f"images: {len(source)} of {source.name}",
            f"size: {settings.size}",
            f"near-duplicates: {'count' if limit is None else f'cosine {limit} or more, left out'}",
            f"search: {'exact' if found.recall is None else 'in groups'}",
            describe_neighbours(found, source.name),
        ]
    )


def _show(path: Path, found: Neighbours, source: ImageSource, facts: str, rows: int) -> None:
    """Write the pictures as a page or as one image."""
    alike = Alike(source, lambda index: image_name(source, index), found.ids, found.cosines)
    how = "Features are means of a frozen model's patch features over the whole image."
    figures = alike_figures(alike, rows=rows, facts=how)
    title = f"Neighbours in {source.name}"
    try:
        if path.suffix.lower() == ".png":
            columns = found.ids.shape[1] + 1
            with atomic_path(path) as temporary:
                sheet = draw_sheet(figures, tile_px=160, columns=columns)
                Image.fromarray(sheet).save(temporary, "PNG")
        else:
            write_text(path, figures_page(title, figures, facts))
    except OSError as error:
        raise DataError(
            f"neighbours: out must be a file that can be written, got {error}"
        ) from error
