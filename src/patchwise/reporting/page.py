"""The page itself: one file that needs nothing else, no network and no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from patchwise.pictures.figure import Figure
from patchwise.reporting.chart import draw_chart
from patchwise.reporting.cost import costs, summary, versions
from patchwise.reporting.curves import make_charts, missing_curves, warnings
from patchwise.reporting.embedded import data_uri
from patchwise.reporting.record import RunRecord
from patchwise.reporting.scores import score_tables
from patchwise.reporting.words import visible


@dataclass(frozen=True)
class Contents:
    """An entry of the list of contents."""

    name: str
    title: str


def run_page(record: RunRecord, figures: Sequence[Figure]) -> str:
    """Return the report of a run as HTML."""
    tables = score_tables(record.evaluations)
    charts = make_charts(record.log, record.config)
    contents = [Contents("scores", "Scores"), Contents("curves", "Curves")]
    contents += [Contents(figure.name, figure.title) for figure in figures]
    contents += [Contents("cost", "What it cost"), Contents("settings", "Settings and versions")]
    return _render(
        "run.html",
        title=f"Run {record.name}",
        record=record,
        contents=contents,
        summary=summary(record),
        warnings=warnings(record.log),
        tables=tables,
        charts=charts,
        missing=missing_curves(record.log, record.config),
        figures=figures,
        costs=costs(record),
        versions=versions(record),
    )


def figures_page(title: str, figures: Sequence[Figure], settings: str) -> str:
    """Return a page of figures alone.

    Args:
        title: At its head.
        figures: To be shown in this order.
        settings: How they were made, as lines of text.
    """
    contents = [Contents(figure.name, figure.title) for figure in figures]
    return _render(
        "figures.html", title=title, contents=contents, figures=figures, settings=settings
    )


def _render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever the template shows
    environment = Environment(
        loader=PackageLoader("patchwise.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalised,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["chart"] = draw_chart
    return environment.get_template(template).render(**values)


def _finalised(value: object) -> object:
    """Make everything visible in what a template prints; it is escaped after that."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value
