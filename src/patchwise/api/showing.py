"""Results and comparisons as tables for a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from patchwise.eval.comparison import Comparison, Paired
from patchwise.eval.results import (
    ClassificationResult,
    Interval,
    Result,
    SegmentationResult,
    dump_result,
    headline,
)
from patchwise.eval.seeds import Seeds, group_seeds

_TEXTS = ("cause", "message", "objects")  # of results of health


def describe_results(results: Sequence[Result]) -> Table:
    """Return one result with all that stands behind it, or several with a row each.

    Results that differ in their seed alone share a row.
    """
    return describe_result(results[0]) if len(results) == 1 else _overview(group_seeds(results))


def describe_result(result: Result) -> Table:
    """Return the scores of a result, and what stands behind them."""
    mark = result.fingerprint
    table = Table("", "", title=Text(mark.preset), show_header=False)
    behind = {
        **mark.settings,
        "seed": mark.seed,
        "data": f"{mark.data.name}: {mark.data.test} images, {mark.data.fit} to learn from",
        "model": f"{mark.model.name} {(mark.model.sha256 or '')[:12]}",
        "cost": f"{mark.seconds:.1f} s, {mark.peak_bytes / 2**30:.2f} GiB, {mark.device}",
    }
    for rows in (_scores(result), behind.items()):
        for name, value in rows:
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            table.add_row(Text(name), Text(shown))
        table.add_section()
    return table


def describe_comparisons(found: Paired) -> Group:
    """Return every comparison: first whether the numbers may be compared, then what differs."""
    parts = [_comparison(comparison) for comparison in found.comparisons]
    alone = [Text(f"Nothing to compare with: {name}") for name in found.alone]
    return Group(*parts, *alone)


def _scores(result: Result) -> Iterator[tuple[str, object]]:
    """Yield name and value of everything that a result has measured."""
    for name, value in dump_result(result).items():
        if isinstance(value, (float, int)) or (name in _TEXTS and value is not None):
            yield name, value
    interval = getattr(result, "interval", None)
    if interval is not None:
        yield f"95 % interval of {headline(result)[0]}", _between(interval)
    if isinstance(result, ClassificationResult):
        for name, accuracy in result.others.items():
            yield f"accuracy with {name}", accuracy
        if result.selected is not None:
            yield "chosen", result.selected
    if isinstance(result, SegmentationResult):
        for number, miou in enumerate(result.miou_by_run or (), start=1):
            yield f"mIoU of run {number}", miou
        for name, iou in result.iou.items():
            yield f"IoU of {name}", "absent" if iou is None else iou


def _overview(groups: Sequence[Seeds]) -> Table:
    mark = groups[0].mark
    data = ", ".join(dict.fromkeys(f"{g.mark.data.name} ({g.mark.data.test})" for g in groups))
    table = Table(
        "protocol", "metric", "score", "95 % interval", "seconds", "GiB",
        title=Text(mark.model.name),
        caption=Text(f"data: {data}; scores in [0, 1]; several seeds: mean and standard deviation"),
    )  # fmt: skip
    for group in groups:
        marks = [result.fingerprint for result in group.results]
        table.add_row(
            Text(group.mark.preset),
            group.metric,
            _score(group.mean, group.deviation, len(group.results)),
            "" if group.interval is None else _between(group.interval),
            f"{sum(m.seconds for m in marks):.1f}",
            f"{max(m.peak_bytes for m in marks) / 2**30:.2f}",
        )
    return table


def _comparison(comparison: Comparison) -> Group:
    left, right = comparison.left, comparison.right
    table = Table("")
    for side in (left, right):
        table.add_column(Text(f"{side.source}\n{side.model}\n{side.preset}"))
    scores = [_score(side.score, side.deviation, len(side.seeds)) for side in (left, right)]
    table.add_row(comparison.metric, *scores)
    if left.interval is not None or right.interval is not None:
        intervals = [s.interval and _between(s.interval) for s in (left, right)]
        table.add_row("95 % interval", *(text or "" for text in intervals))
    table.add_section()
    for difference in comparison.differences:
        table.add_row(*(Text(t) for t in (difference.what, difference.left, difference.right)))
    verdict = Text(f"{comparison.verdict} Difference: {comparison.gap:+.4f}.")
    return Group(verdict, table, *(Text(f"- {note}") for note in comparison.notes), Text())


def _score(mean: float, deviation: float | None, count: int) -> str:
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f} ({count} seeds)"


def _between(interval: Interval) -> str:
    return f"{interval.low:.4f} to {interval.high:.4f}"
