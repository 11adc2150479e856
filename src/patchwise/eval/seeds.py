"""Results that differ in their seed alone, taken together."""

import dataclasses
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from patchwise.eval.results import Fingerprint, Interval, Result, headline


@dataclass(frozen=True)
class Seeds:
    """One protocol with one or more seeds, of one model on one set of data."""

    results: tuple[Result, ...]

    @property
    def mark(self) -> Fingerprint:
        """What stands behind the first of them; the others have other seeds."""
        return self.results[0].fingerprint

    @property
    def metric(self) -> str:
        """Name of the score."""
        return headline(self.results[0])[0]

    @property
    def scores(self) -> tuple[float, ...]:
        """The score by each seed."""
        return tuple(headline(result)[1] for result in self.results)

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the scores, with n - 1; None for one seed."""
        return statistics.stdev(self.scores) if len(self.results) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """That of the score, over test images; None for several seeds."""
        return getattr(self.results[0], "interval", None) if len(self.results) == 1 else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(result.fingerprint.seed for result in self.results)


def group_seeds(results: Iterable[Result]) -> list[Seeds]:
    """Take together what differs in its seed alone, in the order of the first ones.

    A seed that comes again, as when a score was measured on two machines, begins a group anew.
    """
    groups: list[list[Result]] = []
    for result in results:
        for group in groups:
            known = {other.fingerprint.seed for other in group}
            if _same(group[0], result) and result.fingerprint.seed not in known:
                group.append(result)
                break
        else:
            groups.append([result])
    return [Seeds(tuple(group)) for group in groups]


def _same(one: Result, other: Result) -> bool:
    first, second = one.fingerprint, other.fingerprint
    plain = [dataclasses.replace(mark, seed=0).protocol for mark in (first, second)]
    return type(one) is type(other) and plain[0] == plain[1] and first.model == second.model
