"""What explains that two scores differ, from their fingerprints alone."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from patchwise.eval.known import known_consequences
from patchwise.eval.results import Fingerprint, Interval, Result, SegmentationResult
from patchwise.eval.seeds import Seeds, group_seeds

_TREATED = {"preset", "version", "settings", "data", "model", "seed", "packages"}
_NEVER_TOLD = {"seconds", "peak_bytes"}  # they differ always, and explain no score
_SHOWN = 3  # differences that a verdict names
_MATCHED = {"overcluster", "unsupseg"}  # families whose clusters are given classes by the labels
_FAR = 3  # between protocols that have only the metric in common


@dataclass(frozen=True)
class Side:
    """One of two scores that are compared."""

    source: str  # the file
    model: str
    preset: str
    score: float  # the mean, of several seeds
    deviation: float | None  # over seeds; None: one seed
    seeds: tuple[int, ...]
    interval: Interval | None


@dataclass(frozen=True)
class Difference:
    """Something that differs between two results."""

    what: str  # "weights", "setting label_px", "torch", ...
    left: str
    right: str
    bars: bool  # the numbers mean different things because of it


@dataclass(frozen=True)
class Comparison:
    """Two scores of one metric, and all that differs behind them."""

    metric: str
    left: Side
    right: Side
    comparable: bool  # protocol, its version, settings and data are the same
    verdict: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]  # what is known to come of such differences

    @property
    def gap(self) -> float:
        """The right score less the left one."""
        return self.right.score - self.left.score


@dataclass(frozen=True)
class Paired:
    """What was found to compare, and what stands alone."""

    comparisons: tuple[Comparison, ...]
    alone: tuple[str, ...]


def compare_results(sources: Sequence[tuple[str, Sequence[Result]]]) -> Paired:
    """Compare the results of several files with those of the first, or those of one file.

    Of one file, every result is compared with the first of the same protocol. Of several, every
    result of a later file is compared with that of the first file whose protocol is nearest: of
    the same name, of the same name but for its short form, or of the same family. A file with a
    single score is compared with another such file whatever their protocols are, if the metric is
    one.

    Args:
        sources: Name and results of every file.
    """
    (name, first), *others = [(name, group_seeds(results)) for name, results in sources]
    if others:
        found = [_with_first(name, first, *other) for other in others]
    else:
        found = [_with_itself(name, first)]
    alone = dict.fromkeys(one for paired in found for one in paired.alone)
    return Paired(tuple(c for paired in found for c in paired.comparisons), tuple(alone))


def _with_itself(name: str, groups: Sequence[Seeds]) -> Paired:
    comparisons, alone = [], []
    for index, group in enumerate(groups):
        same = [i for i, other in enumerate(groups) if _nearness(other, group) == 0]
        if same[0] < index:
            comparisons.append(_compare(name, groups[same[0]], name, group))
        elif len(same) == 1:
            alone.append(f"{name}: {group.mark.preset}")
    return Paired(tuple(comparisons), tuple(alone))


def _with_first(
    first_name: str, first: Sequence[Seeds], name: str, groups: Sequence[Seeds]
) -> Paired:
    comparisons, alone, met = [], [], set()
    farthest = _FAR if len(first) == len(groups) == 1 else _FAR - 1
    for group in groups:
        distances = [(_nearness(other, group), index) for index, other in enumerate(first)]
        near = sorted((d, index) for d, index in distances if d is not None and d <= farthest)
        if near:
            met.add(near[0][1])
            comparisons.append(_compare(first_name, first[near[0][1]], name, group))
        else:
            alone.append(f"{name}: {group.mark.preset}")
    alone += [f"{first_name}: {f.mark.preset}" for i, f in enumerate(first) if i not in met]
    return Paired(tuple(comparisons), tuple(alone))


def _nearness(one: Seeds, other: Seeds) -> int | None:
    """Return 0 for the same protocol, more for other ones, None for another metric."""
    if one.metric != other.metric:
        return None
    first, second = _name(one.mark), _name(other.mark)
    if first == second:
        return 0
    if first.removesuffix("-short") == second.removesuffix("-short"):
        return 1
    return 2 if _family(first) == _family(second) else _FAR


def _compare(left_name: str, left: Seeds, right_name: str, right: Seeds) -> Comparison:
    differences = tuple(_differences(left, right))
    bars = [difference for difference in differences if difference.bars]
    sides = (_side(left_name, left), _side(right_name, right))
    notes = [*known_consequences([d.what for d in differences])]
    if not bars:
        notes = [*_about_intervals(*sides), *notes]
    return Comparison(
        metric=left.metric,
        left=sides[0],
        right=sides[1],
        comparable=not bars,
        verdict=_verdict(left.mark, right.mark, differences),
        differences=differences,
        notes=tuple(notes),
    )


def _side(name: str, group: Seeds) -> Side:
    mark = group.mark
    numbers = (group.mean, group.deviation, group.numbers, group.interval)
    return Side(name, mark.model.name, mark.preset, *numbers)


def _differences(left: Seeds, right: Seeds) -> Iterator[Difference]:
    """Yield everything that differs, what bars a comparison first."""
    one, other = left.mark, right.mark
    if _name(one) != _name(other):
        yield Difference("protocol", one.preset, other.preset, bars=True)
    elif one.version != other.version:
        yield Difference("protocol version", str(one.version), str(other.version), bars=True)
    matched = [
        "by the scored labels" if _family(_name(mark)) in _MATCHED else "none"
        for mark in (one, other)
    ]
    yield from _if_other("matching of clusters", *matched, bars=True)
    if _family(_name(one)) == _family(_name(other)):
        yield from _of_mappings("setting ", one.settings, other.settings, bars=True)
    yield from _of_data(left, right)
    if one.model.sha256 != other.model.sha256:
        weights = [(m.sha256 or "unknown")[:12] for m in (one.model, other.model)]
        yield Difference("weights", weights[0], weights[1], bars=False)
    elif one.model.name != other.model.name:
        yield Difference("name of the model", one.model.name, other.model.name, bars=False)
    seeds = [", ".join(map(str, group.numbers)) for group in (left, right)]
    yield from _if_other("seed", *seeds, bars=False)
    chosen = [getattr(group.results[0], "selected", None) or "nothing" for group in (left, right)]
    yield from _if_other("chosen", *chosen, bars=False)
    for field in dataclasses.fields(Fingerprint):
        if field.name not in _TREATED | _NEVER_TOLD:
            values = [str(getattr(mark, field.name)) for mark in (one, other)]
            yield from _if_other(field.name, *values, bars=False)
    yield from _of_mappings("", one.packages, other.packages, bars=False)


def _of_data(left: Seeds, right: Seeds) -> Iterator[Difference]:
    one, other = left.mark.data, right.mark.data
    yield from _if_other("test images", str(one.test), str(other.test), bars=True)
    yield from _if_other("images to learn from", str(one.fit), str(other.fit), bars=True)
    first, second = left.results[0], right.results[0]
    if isinstance(first, SegmentationResult) and isinstance(second, SegmentationResult):
        yield from _if_other("classes", *_own_classes(first, second), bars=True)
    names = [f"{data.name} ({data.sha256[:12]})" for data in (one, other)]
    if one.sha256 != other.sha256:
        yield from _if_other("data", *names, bars=True)


def _own_classes(one: SegmentationResult, other: SegmentationResult) -> tuple[str, str]:
    """Return the number of classes of both, with the first that only one of them has."""
    texts = []
    for own, others in ((one.iou, other.iou), (other.iou, one.iou)):
        only = [name for name in own if name not in others]
        texts.append(f"{len(own)}" + (f" with {only[0]}" if only else ""))
    return texts[0], texts[1]


def _of_mappings(
    prefix: str, one: Mapping[str, object], other: Mapping[str, object], *, bars: bool
) -> Iterator[Difference]:
    for name in {**one, **other}:
        values = [_plain(m[name]) if name in m else "none such" for m in (one, other)]
        yield from _if_other(f"{prefix}{name}", *values, bars=bars)


def _if_other(what: str, left: str, right: str, *, bars: bool) -> Iterator[Difference]:
    if left != right:
        yield Difference(what, left, right, bars)


def _verdict(one: Fingerprint, other: Fingerprint, differences: Sequence[Difference]) -> str:
    bars = [f"{d.what} {d.left} vs {d.right}" for d in differences if d.bars]
    if bars:
        more = f" and {len(bars) - _SHOWN} more" if len(bars) > _SHOWN else ""
        return f"Not comparable: {', '.join(bars[:_SHOWN])}{more}."
    rest = [d.what for d in differences if d.what not in {"weights", "name of the model"}]
    others = ", ".join(rest)
    if one.model.sha256 is not None and one.model.sha256 == other.model.sha256:
        cause = f": a difference comes of {others}" if rest else ""
        return f"Same protocol, data and weights{cause}."
    known = one.model.sha256 is not None or other.model.sha256 is not None
    whose = "the model's" if known else "the models', whose weights are not known"
    return (
        f"Same protocol and data: the difference is {whose}{f', or of {others}' if rest else ''}."
    )


def _about_intervals(left: Side, right: Side) -> Iterator[str]:
    if left.score == right.score:
        yield "The scores are equal."
        return
    if left.interval is None or right.interval is None:
        return
    apart = left.interval.high < right.interval.low or right.interval.high < left.interval.low
    if apart:
        yield (
            "The 95 % intervals over test images lie apart: other images like these would hardly "
            "turn the order round. Other seeds of training are not in them."
        )
    else:
        yield (
            "The 95 % intervals over test images overlap: on these images the difference is as it "
            "stands, on others like them it may be another. Both scores are of the same images, so "
            "this is a cautious test: overlap does not show that there is no difference."
        )


def _plain(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _name(mark: Fingerprint) -> str:
    return mark.preset.partition(" (changed")[0]


def _family(name: str) -> str:
    return name.partition("/")[0]
