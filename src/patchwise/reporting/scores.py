"""Scores beside each other where they may be compared, each with what is behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

from patchwise.eval.results import (
    ClassificationResult,
    DenseScoreResult,
    Evaluation,
    Fingerprint,
    HealthResult,
    Interval,
    Result,
    RunHealthResult,
    SegmentationResult,
)
from patchwise.reporting.cost import Fact
from patchwise.reporting.words import duration, gibibytes, whole

Scores = tuple[float | None, ...]


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one subject, or of one class."""

    name: str
    scores: Scores
    interval: Interval | None = None  # of the first score, over test images


@dataclass(frozen=True)
class ScoreTable:
    """Values that may be compared with each other; scores lie in [0, 1]."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[ScoreRow, ...]  # a subject each
    classes: tuple[ScoreRow, ...] = ()  # a class each, with a score for each subject
    settings: tuple[Fact, ...] = ()
    scored: bool = True  # more is better, and percent is meant; if not, these are measurements

    def text(self, value: float | None) -> str:
        """Return a value as it stands in the table; a dash for none."""
        if value is None:
            return "\u2013"
        return f"{100 * value:.1f}" if self.scored else f"{value:.3g}"

    def between(self, interval: Interval) -> str:
        """Return an interval as it stands in the table."""
        return f"{self.text(interval.low)} \u2013 {self.text(interval.high)}"

    @property
    def best(self) -> Scores:
        """The highest score of each column; None where there is nothing to choose from."""
        if not self.scored:
            return (None,) * len(self.columns)
        columns = zip(*(row.scores for row in self.rows), strict=True)
        known = [[score for score in column if score is not None] for column in columns]
        return tuple(max(scores) if len(scores) > 1 else None for scores in known)


def score_tables(evaluations: Sequence[Evaluation]) -> list[ScoreTable]:
    """Return a table for each protocol, and before them one of all, if there are several.

    Scores stand in one table only if their protocols are equal to the last setting.
    """
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.result.fingerprint.protocol, []).append(evaluation)
    tables = [_table(group) for group in groups.values()]
    scored = [table for table in tables if table.scored]
    return [_overview(scored), *tables] if len(scored) > 1 else tables


def _overview(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Return the first score of every table, a column each."""
    subjects = dict.fromkeys(row.name for table in tables for row in table.rows)
    scores = [{row.name: row.scores[0] for row in table.rows} for table in tables]
    return ScoreTable(
        title="All protocols, percent",
        columns=tuple(f"{table.title.split(',')[0]}: {table.columns[0]}" for table in tables),
        rows=tuple(ScoreRow(name, tuple(s.get(name) for s in scores)) for name in subjects),
    )


def _table(group: Sequence[Evaluation]) -> ScoreTable:
    first = group[0].result
    scored = not isinstance(first, (HealthResult, RunHealthResult, DenseScoreResult))
    rows = tuple(
        ScoreRow(e.subject, tuple(_metrics(e.result).values()), _interval(e.result)) for e in group
    )
    return ScoreTable(
        title=first.fingerprint.preset + (", percent" if scored else ""),
        columns=tuple(_metrics(first)),
        rows=rows,
        classes=_classes([e.result for e in group]),
        settings=_settings(group),
        scored=scored,
    )


def _metrics(result: Result) -> dict[str, float | None]:
    if isinstance(result, SegmentationResult):
        return {"mIoU": result.miou, "pixel accuracy": result.pixel_accuracy}
    if isinstance(result, HealthResult):
        return {
            f"patch rank (of {result.dim})": result.patch_rank,
            "image rank": result.image_rank,
            "position bias": result.position_bias,
            "high-norm patches": result.high_norm_share,
            "within object / between categories": result.instance_ratio,
            "within category / between categories": result.class_ratio,
        }
    if isinstance(result, RunHealthResult):
        return {
            "teacher entropy, of ln K": result.teacher_entropy,
            "prototype use": result.prototype_use,
            "loss, of ln K": result.loss_frac,
            "agreement": result.agreement,
        }
    if isinstance(result, DenseScoreResult):
        return {f"label-free score (of {result.dim})": result.score}
    return {
        "accuracy": result.accuracy,
        "top 5": result.top5,
        "balanced accuracy": result.balanced_accuracy,
    }


def _interval(result: Result) -> Interval | None:
    if isinstance(result, (ClassificationResult, SegmentationResult)):
        return result.interval
    return None


def _details(result: Result) -> str:
    """Return what else was measured, as it is to be read with the score."""
    parts = []
    if isinstance(result, ClassificationResult):
        others = (f"{name}: {100 * accuracy:.1f}" for name, accuracy in result.others.items())
        parts += [f"accuracy with {', '.join(others)}"] if result.others else []
        parts += [f"chosen: {result.selected}"] if result.selected else []
        best = result.best_accuracy
    else:
        best = result.best_miou if isinstance(result, SegmentationResult) else None
    if isinstance(result, SegmentationResult) and result.miou_by_run:
        parts.append(f"mIoU by run {', '.join(f'{100 * m:.1f}' for m in result.miou_by_run)}")
    if best is not None:
        parts.append(f"best epoch by these very labels {100 * best:.1f}")
    return "; ".join(("", *parts))


def _classes(results: Sequence[Result]) -> tuple[ScoreRow, ...]:
    segmented = [result for result in results if isinstance(result, SegmentationResult)]
    names = dict.fromkeys(name for result in segmented for name in result.iou)
    return tuple(ScoreRow(name, tuple(r.iou.get(name) for r in segmented)) for name in names)


def _settings(group: Sequence[Evaluation]) -> tuple[Fact, ...]:
    first = group[0].result
    mark: Fingerprint = first.fingerprint
    facts = [
        Fact("Preset", f"{mark.preset}, version {mark.version}"),
        *(Fact(name, _plain(value)) for name, value in mark.settings.items()),
        Fact("Data", f"{mark.data.name}: labels of {whole(mark.data.fit)} images used, "
             f"{whole(mark.data.test)} scored; sha256 {mark.data.sha256[:16]}"),
    ]  # fmt: skip
    if isinstance(first, ClassificationResult):
        facts.append(
            Fact("Compared", f"{whole(first.num_queries)} with {whole(first.num_memory)} features")
        )
    facts.append(Fact("Seed", str(mark.seed)))
    for evaluation in group:
        own = evaluation.result.fingerprint
        weights = f"sha256 {own.model.sha256[:16]}" if own.model.sha256 else "no weights"
        text = (
            f"{own.model.name}, {weights}; {duration(own.seconds)} on {own.device}, "
            f"process peak {gibibytes(own.peak_bytes)}{_details(evaluation.result)}"
        )
        facts.append(Fact(evaluation.subject, text))
    packages = ", ".join(f"{name} {version}" for name, version in mark.packages.items())
    return (*facts, Fact("Packages", packages))


def _plain(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
