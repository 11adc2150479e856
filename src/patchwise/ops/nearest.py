"""The most similar of many vectors for each of many others, exactly, as the many pass by."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from patchwise.ops.products import set_product

_QUERIES = 1024  # compared at a time
KEYS_AT_ONCE = 4096  # with which they are compared at a time
_GROUP = 64  # scores of which the highest is looked at first
_PAIRS = 2**12  # whose products are computed in float64 at a time
_CROWD = 16  # groups to be looked at; with more, a whole row in float64 is cheaper
_DOUBLE_QUERIES = 256  # that are compared in float64 at a time


class Nearest:
    """The ``k`` keys of highest product with each query, of those that were offered so far.

    A product is the sum in float64, rounded to the queries' type. So it does not depend on what
    is compared at a time. Of equal ones the first to be offered counts.

    A product of bfloat16 is made first, where the machine is fast at that. It is off by at most
    |q - q'| |k| + |q'| |k - k'|, where q' and k' are the rounded vectors, and by what summing in
    float32 may lose. Only keys whose first product is less than that below the k-th best so far
    are looked at again. No key is lost: the bound is by Cauchy and Schwarz.

    With ``below``, only keys whose product is less than that count: the most similar of those that
    are not too similar.

    Attributes:
        values: Highest products of each query, falling; -inf where fewer keys were offered.
        index: Number of those keys; -1 where there is none.

    >>> nearest = Nearest(torch.eye(2), 1)
    >>> nearest.offer(torch.tensor([[0.5, 0.1], [0.0, 1.0]]), torch.tensor([7, 8]))
    >>> nearest.index.tolist(), nearest.values.tolist()
    ([[7], [8]], [[0.5], [1.0]])
    """

    def __init__(self, queries: Float[Tensor, "Q D"], k: int, *, below: float = math.inf) -> None:
        self.queries, self.k, self.below = queries, k, below
        self.values: Float[Tensor, "Q k"] = queries.new_full((len(queries), k), -torch.inf)
        self.index: Int64[Tensor, "Q k"] = torch.full(
            (len(queries), k), -1, dtype=torch.int64, device=queries.device
        )
        self._length, self._lost = _length_and_loss(queries)

    def offer(
        self,
        keys: Float[Tensor, "M D"],
        index: Int64[Tensor, " M"],
        rows: Int64[Tensor, " R"] | None = None,
    ) -> None:
        """Compare some keys with all queries, or with those of ``rows``, none of them twice.

        Args:
            keys: On the queries' device and of their type.
            index: Number of each key.
            rows: Numbers of queries.
        """
        if rows is None:
            rows = torch.arange(len(self.queries), device=keys.device)
        blocks = zip(torch.split(keys, KEYS_AT_ONCE), torch.split(index, KEYS_AT_ONCE), strict=True)
        for some, numbers in blocks:
            length, lost = (float(part.max()) for part in _length_and_loss(some))
            for chosen in torch.split(rows, _QUERIES):
                self._offer(some, numbers, chosen, (length, lost))

    def _offer(
        self,
        keys: Float[Tensor, "M D"],
        index: Int64[Tensor, " M"],
        rows: Int64[Tensor, " R"],
        reach: tuple[float, float],
    ) -> None:
        """Compare one block; ``reach``: greatest length of a key, and loss when it is rounded."""
        fresh = self.index[rows, -1] < 0
        if fresh.any():
            self._offer_in_double(keys, index, rows[fresh])
            rows = rows[~fresh]
        queries = self.queries[rows]
        scores = queries.new_empty(len(queries), len(keys))
        set_product(scores, queries, keys.T, half=_half_is_fast(queries))
        summing = 2 * queries.shape[1] * torch.finfo(queries.dtype).eps
        length, lost = reach
        error = self._lost[rows] * length + self._length[rows] * (lost + summing * length)
        row, column, crowded = _at_least(scores, self.values[rows, -1] - error)
        found = _products(queries, keys, row, column)
        better = (found > self.values[rows, -1][row]) & (found < self.below)
        self._merge(rows, row[better], found[better], index[column[better]])
        self._offer_in_double(keys, index, rows[crowded])

    def _offer_in_double(
        self,
        keys: Float[Tensor, "M D"],
        index: Int64[Tensor, " M"],
        rows: Int64[Tensor, " R"],
    ) -> None:
        """Do it without a first product: for first keys, and for such as are all alike."""
        if not len(rows):
            return
        doubled = keys.double().T
        for some in torch.split(rows, _DOUBLE_QUERIES):
            found = (self.queries[some].double() @ doubled).to(keys.dtype)
            found.masked_fill_(found >= self.below, -torch.inf)
            best = found.topk(min(self.k, len(keys)), dim=1).values[:, -1:]
            lowest = self.values[some, -1:]
            row, column = ((found > lowest) & (found >= best)).nonzero(as_tuple=True)
            self._merge(some, row, found[row, column], index[column])

    def _merge(
        self,
        rows: Int64[Tensor, " R"],
        row: Int64[Tensor, " P"],
        values: Float[Tensor, " P"],
        index: Int64[Tensor, " P"],
    ) -> None:
        """Take in pairs that are sorted by ``row``, a place in ``rows``."""
        if not len(row):
            return
        changed, place, count = torch.unique_consecutive(
            row, return_inverse=True, return_counts=True
        )
        first = count.cumsum(0) - count
        column = self.k + torch.arange(len(row), device=row.device) - first[place]
        chosen = rows[changed]
        width = self.k + int(count.max())
        all_values = values.new_full((len(changed), width), -torch.inf)
        all_index = index.new_full((len(changed), width), -1)
        all_values[:, : self.k], all_index[:, : self.k] = self.values[chosen], self.index[chosen]
        all_values[place, column], all_index[place, column] = values, index
        best = all_values.sort(dim=1, descending=True, stable=True)
        self.values[chosen] = best.values[:, : self.k]
        self.index[chosen] = all_index.gather(1, best.indices[:, : self.k])


def without_own(
    values: Float[Tensor, "Q J"], index: Int64[Tensor, "Q J"], own: Int64[Tensor, " Q"]
) -> tuple[Float[Tensor, "Q k"], Int64[Tensor, "Q k"]]:
    """Drop each query's ``own`` key from what was found; the last one where it is not there.

    So of the J best keys J - 1 stay, the best of the others: also where so many are just as
    similar as the query itself that it is not among them.
    """
    dropped = index == own[:, None]
    dropped[:, -1] |= ~dropped.any(dim=1)
    shape = (len(index), index.shape[1] - 1)
    return values[~dropped].reshape(shape), index[~dropped].reshape(shape)


def _half_is_fast(queries: Tensor) -> bool:
    """Return whether products of bfloat16 are made by units of their own."""
    if queries.dtype != torch.float32:
        return False
    return queries.is_cuda or torch.cpu._is_amx_tile_supported()


def _length_and_loss(
    vectors: Float[Tensor, "N D"],
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return upper bounds of each vector's length, rounded or not, and of what rounding takes."""
    lost = torch.linalg.vector_norm(vectors - vectors.bfloat16(), dim=1)
    slack = 1 + 2 * vectors.shape[1] * torch.finfo(vectors.dtype).eps
    return (torch.linalg.vector_norm(vectors, dim=1) + lost) * slack, lost * slack


def _at_least(
    scores: Float[Tensor, "R M"], bar: Float[Tensor, " R"]
) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " P"], Bool[Tensor, " R"]]:
    """Return rows and columns of the scores that reach the bar of their row, in order.

    Few do: the highest score of each group is looked at first. Rows with many such groups are
    left out, and returned as well.
    """
    length = scores.shape[1] // _GROUP * _GROUP
    groups = scores[:, :length].view(len(scores), length // _GROUP, _GROUP)
    reached = groups.amax(dim=2) >= bar[:, None]
    crowded = reached.sum(dim=1) > _CROWD
    row, group = (reached & ~crowded[:, None]).nonzero(as_tuple=True)
    place, offset = (groups[row, group] >= bar[row, None]).nonzero(as_tuple=True)
    row, column = row[place], group[place] * _GROUP + offset
    if length < scores.shape[1]:
        rest = (scores[:, length:] >= bar[:, None]) & ~crowded[:, None]
        last, offset = rest.nonzero(as_tuple=True)
        row, column = torch.cat([row, last]), torch.cat([column, length + offset])
        order = row.argsort(stable=True)
        row, column = row[order], column[order]
    return row, column, crowded


def _products(
    queries: Float[Tensor, "R D"],
    keys: Float[Tensor, "M D"],
    row: Int64[Tensor, " P"],
    column: Int64[Tensor, " P"],
) -> Float[Tensor, " P"]:
    """Return the product of each pair, summed in float64."""
    found = queries.new_empty(len(row))
    for start in range(0, len(row), _PAIRS):
        part = slice(start, start + _PAIRS)
        products = queries[row[part]].double().mul_(keys[column[part]])
        found[part] = products.sum(dim=1)
    return found
