"""Sums over all items that lie lower and further up, without looking at every pair.

Items are ranked by x and cut into halves again and again. At each level an item of an upper half
needs the sums over the lower half beside it; all other pairs are met at other levels. Items are
kept by falling y within each part, so that these are running sums, and all levels together take
O(M log M). What is left at the bottom are parts of a few items, whose pairs are looked at.

Running sums of rising powers are made from each other, gap by gap, so that nothing is ever
subtracted: with weights that are not negative, results are exact to the last digits.

Source: divide and conquer over one axis, Bentley 1980, "Multidimensional divide-and-conquer".

Letters: M items, G parts of S items each at a level.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from patchwise.checks import check_same_shape
from patchwise.errors import RangeError, ShapeError

_AT_ONCE = {"cpu": 2**16, "cuda": 2**22}  # items: a cache's worth; enough to fill a GPU
_BOTTOM = 32  # items whose pairs are looked at one by one
_PIECE = 2**11  # items: long sums run in pieces, side by side


@torch.no_grad()
def dominance_sums(
    x: Float[Tensor, " M"],
    y: Float[Tensor, " M"],
    weight: Float[Tensor, " M"],
    *,
    powers: Sequence[int],
) -> Float[Tensor, "P M"]:
    """Return sums over the items that have a smaller x and a greater y than an item has.

        sums[., i] = sum over j with x_j < x_i and y_j > y_i of  w_j (x_i - x_j) (y_j - y_i)^power

    Args:
        x: First coordinate; finite, as all three.
        y: Second coordinate.
        weight: 0 for an item that only asks.
        powers: Of 0, 1 and 2, rising; one row of sums each.

    Returns:
        In the type of ``x``; float64 is advised. 0 for an item with the smallest x or the
        greatest y. No gradient.

    Raises:
        ShapeError: The tensors are not three lists of one length.
        RangeError: ``powers`` are none, others, or in another order.

    >>> x, y = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([5.0, 4.0, 2.0])
    >>> dominance_sums(x, y, torch.ones(3), powers=(1, 2))
    tensor([[ 0.,  1., 13.],
            [ 0.,  1., 35.]])
    """
    name = "dominance_sums"
    _check_list(name, x)
    check_same_shape(name, x=x, y=y, weight=weight)
    if not powers or list(powers) != [power for power in range(3) if power in powers]:
        raise RangeError(f"{name}: powers must be some of 0, 1 and 2, rising, got {powers}")
    if not len(x):
        return x.new_zeros(len(powers), 0)
    ranked = _rank(x, y)
    items = torch.stack([values.index_select(0, ranked.by_x) for values in (x, y, weight)])
    if ranked.padding:
        last = torch.stack([x.max(), y.min(), x.new_zeros(())])[:, None]
        items = torch.cat([items, last.expand(3, ranked.padding)], dim=1)
    sums = torch.zeros_like(items[:1]).repeat(len(powers), 1)
    _descend(ranked.order, _Sums(items, sums, powers))
    result = torch.empty_like(sums[:, : len(x)])
    return result.scatter_(1, ranked.by_x.expand_as(result), sums)


@torch.no_grad()
def dominance_counts(x: Float[Tensor, " M"], y: Float[Tensor, " M"]) -> Int64[Tensor, " M"]:
    """Return for each item how many have an x and a y at least as great; it counts itself.

    Raises:
        ShapeError: The tensors are not two lists of one length.

    >>> dominance_counts(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([5.0, 2.0, 2.0])).tolist()
    [1, 2, 2]
    """
    _check_list("dominance_counts", x)
    check_same_shape("dominance_counts", x=x, y=y)
    if not len(x):
        return torch.zeros_like(x, dtype=torch.int64)
    by_y = y.argsort()
    ranked = _rank(x[by_y], y[by_y])
    by_both = by_y[ranked.by_x]  # equal items lie side by side
    above = torch.zeros(len(x) + ranked.padding, dtype=torch.int64, device=x.device)
    _descend(ranked.order, _Counts(above))

    x, y = x[by_both], y[by_both]
    fresh = torch.ones_like(x, dtype=torch.bool)
    fresh[1:] = (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    seen_by_first = above[: len(x)][fresh]
    result = torch.empty_like(by_y)
    result[by_both] = seen_by_first[fresh.cumsum(0) - 1] + 1
    return result


def _check_list(caller: str, x: Tensor) -> None:
    if x.ndim != 1:
        raise ShapeError(f"{caller}: x must be a list, got shape {tuple(x.shape)}")


class _Ranked(NamedTuple):
    """Items in order of x, filled up at the end so that they can be halved down to the bottom."""

    by_x: Tensor  # [M], which item has which rank
    order: Tensor  # [1, M + padding], ranks by falling y; of equal y, the highest rank first
    padding: int


def _rank(x: Tensor, y: Tensor) -> _Ranked:
    count = len(x)
    halvings = max(0, (count - 1) // _BOTTOM).bit_length()
    padding = -count % 2**halvings
    by_x = x.argsort(stable=True)
    order = count - 1 - y.index_select(0, by_x).flip(0).argsort(stable=True, descending=True)
    last = torch.arange(count, count + padding, device=x.device)
    return _Ranked(by_x, torch.cat([order, last])[None], padding)


class _Level(NamedTuple):
    """Some parts of one size, and which of their items belong to the upper half by x."""

    order: Tensor  # [G, S], ranks by falling y within each part
    middle: Tensor  # [G, 1], lowest rank of the upper half
    upper: Tensor  # [G, S], 1 in the upper half, 0 in the lower
    passed: Tensor  # [G, S], items of the upper half up to here


@runtime_checkable
class _Tally(Protocol):
    """What is added up for each item."""

    def part(self, start: int, length: int) -> "_Tally":
        """Return the tally of some items, by rank."""

    def add_level(self, level: _Level) -> None:
        """Add what the two halves of each part have to do with each other."""

    def add_bottom(self, order: Tensor) -> None:
        """Add what the few items of each part have to do with each other."""


class _Sums(NamedTuple):
    """The tally of `dominance_sums`."""

    items: Tensor  # [3, M], x, y and weight by rank
    sums: Tensor  # [P, M], by rank
    powers: Sequence[int]

    def part(self, start: int, length: int) -> "_Sums":
        items, sums = (rows.narrow(1, start, length) for rows in (self.items, self.sums))
        return _Sums(items, sums, self.powers)

    def add_level(self, level: _Level) -> None:
        """Let each item of an upper half look at the lower half.

        x_i - x_j is what i is above the middle and j below it. With S_q the sum of w_j
        (y_j - y)^q over the lower items so far, y being that of the last item, and d the gap to
        the next: S_1 grows by d S_0, and S_2 by d (S_1 + S_1 of the next).
        """
        ranks = level.order.flatten()
        x, y, weight = (row.index_select(0, ranks).view_as(level.order) for row in self.items)
        upper = level.upper.to(x.dtype)
        depth = self.items[0, level.middle] - x  # below the middle; not positive above it
        start = x.new_empty(2, *x.shape)  # [S_0 and the same with each weight times its depth]
        torch.addcmul(weight, weight, upper, value=-1, out=start[0])
        torch.mul(start[0], depth, out=start[1])
        running, growth = _running(start), start
        growth[..., 0] = 0
        gap = y[:, :-1] - y[:, 1:]
        for power in range(self.powers[-1] + 1):
            if power == 1:
                torch.mul(running[..., :-1], gap, out=growth[..., 1:])
            elif power == 2:
                torch.add(running[..., :-1], running[..., 1:], out=growth[..., 1:])
                growth[..., 1:] *= gap
            running = _running(growth) if power else running
            if power in self.powers:
                found = torch.addcmul(running[1], running[0], depth, value=-1).mul_(upper)
                self.sums[self.powers.index(power)].index_add_(0, ranks, found.flatten())

    def add_bottom(self, order: Tensor) -> None:
        x, y, weight = self.items.view(3, *order.shape)
        reach = (x[:, :, None] - x[:, None, :]).clamp_(min=0)  # [G, S, S]
        rise = (y[:, None, :] - y[:, :, None]).clamp_(min=0)
        part = reach.mul_(weight[:, None, :])
        for power in range(self.powers[-1] + 1):
            part = part * rise if power else part
            if power in self.powers:
                found = part if power else part * (rise > 0)
                self.sums[self.powers.index(power)].add_(found.sum(dim=2).flatten())


class _Counts(NamedTuple):
    """The tally of `dominance_counts`."""

    counts: Tensor  # [M], by rank: items of a greater rank that come before

    def part(self, start: int, length: int) -> "_Counts":
        return _Counts(self.counts.narrow(0, start, length))

    def add_level(self, level: _Level) -> None:
        found = level.passed * (1 - level.upper)
        self.counts.index_add_(0, level.order.flatten(), found.flatten())

    def add_bottom(self, order: Tensor) -> None:
        before = (order[:, None, :] > order[:, :, None]).tril_()  # [G, S, S]
        self.counts.index_add_(0, order.flatten(), before.sum(dim=2).flatten())


def _descend(order: Tensor, tally: _Tally) -> None:
    """Halve parts [G, S] until they are small, and let the tally see every level.

    Many items are worked off half by half, so that what is held at a time stays small.
    """
    most = _AT_ONCE[order.device.type]
    while order.shape[1] > _BOTTOM:
        level = _open_level(order)
        tally.add_level(level)
        order = _halve(level)
        if order.numel() > most:
            for some, part in _in_parts(order, len(order) // 2, tally):
                _descend(some, part)
            return
    for some, part in _in_parts(order, max(1, most // order.shape[1] ** 2), tally):
        part.add_bottom(some)


def _in_parts(order: Tensor, parts: int, tally: _Tally) -> Iterator[tuple[Tensor, _Tally]]:
    """Yield some parts at a time, as if there were no others."""
    start = 0
    for some in torch.split(order, parts):
        yield some - start, tally.part(start, some.numel())
        start += some.numel()


def _open_level(order: Tensor) -> _Level:
    middle = _places(order)[:, order.shape[1] // 2, None]
    upper = (order >= middle).to(torch.int64)
    return _Level(order, middle, upper, _running(upper))


def _halve(level: _Level) -> Tensor:
    """Return the order [2 G, S / 2] in the halves, each of which keeps its items' order."""
    target = _places(level.order) - level.passed  # of a lower item
    from_lower = level.middle - 1 + level.passed - target
    target += from_lower.mul_(level.upper)
    order = torch.empty_like(level.order).view(-1)
    order.scatter_(0, target.flatten(), level.order.flatten())
    return order.view(2 * len(target), -1)


def _places(order: Tensor) -> Tensor:
    """Return 0, 1, 2, ... in the shape of ``order``."""
    return torch.arange(order.numel(), device=order.device).view_as(order)


def _running(values: Tensor) -> Tensor:
    """Return running sums of rows that can be halved until they are short."""
    pieces = 2 ** ((values.shape[-1] - 1) // _PIECE).bit_length()
    if pieces == 1:
        return values.cumsum(dim=-1)
    sums = values.view(*values.shape[:-1], pieces, -1).cumsum(dim=-1)
    sums[..., 1:, :] += sums[..., :-1, -1:].cumsum(dim=-2)
    return sums.view(values.shape)
