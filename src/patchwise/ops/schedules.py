"""Values that change over a run, as pure functions of where it stands."""

import math

from patchwise.checks import check_within


def cosine(start: float, end: float, *, progress: float) -> float:
    """Go from ``start`` to ``end`` along half a cosine.

    Args:
        start: Value at progress 0.
        end: Value at progress 1.
        progress: Share that is done, in [0, 1].

    >>> cosine(0.0, 1.0, progress=0.5)
    0.5
    """
    check_within("cosine", 0.0, 1.0, progress=progress)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def linear_warmup(start: float, end: float, *, at: float, length: float) -> float:
    """Go from ``start`` at 0 straight to ``end`` at ``length``, and stay there.

    >>> linear_warmup(0.0, 1.0, at=5, length=10)
    0.5
    """
    if at >= length:
        return end
    return start + (end - start) * at / length


def warmup_cosine(peak: float, end: float, *, at: float, warmup: float, total: float) -> float:
    """Warm up linearly from 0 to ``peak``, then go to ``end`` along half a cosine.

    Args:
        peak: Value when the warm-up is over.
        end: Value at ``total``.
        at: Where the run stands, in any unit, 0 to ``total``.
        warmup: Length of the warm-up, in that unit; less than ``total``.
        total: Length of the run, in that unit.
    """
    if at < warmup:
        return linear_warmup(0.0, peak, at=at, length=warmup)
    if total <= warmup:
        return peak
    return cosine(peak, end, progress=min(1.0, (at - warmup) / (total - warmup)))
