"""The most similar of many stored vectors, exactly or nearly so, in bounded memory."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.features.vectors import Vectors
from patchwise.ops.nearest import Nearest
from patchwise.ops.products import set_product
from patchwise.randomness import random_order, random_seed

_TRAINED_ON = 40  # vectors for each cell that its centre is trained on
_ROUNDS = 10  # of k-means
_ASSIGNED = 4096  # vectors whose cell is looked for at a time
_PROBED = 1024  # queries whose cells are looked for at a time
_SAMPLE, _CENTRES = 0, 1  # keys of draws


def nearest_exact(
    queries: Float[Tensor, "Q D"], keys: Vectors, k: int, *, below: float = math.inf
) -> Nearest:
    """Return the ``k`` stored vectors of highest product with each query; see `Nearest`.

    What is held besides the queries is 12 k bytes for each of them, and blocks of a fixed size:
    a quarter of a GiB at most.
    """
    nearest = Nearest(queries, k, below=below)
    for first in range(0, len(keys), keys.block):
        block = keys.read(first, min(first + keys.block, len(keys))).to(queries.device)
        number = torch.arange(first, first + len(block), device=queries.device)
        nearest.offer(block, number)
    return nearest


class Cells:
    """Stored vectors, those that are alike beside each other, to be searched in part.

    1. Centres: k-means on the sphere of 40 vectors for each cell, drawn by the seed. There are at
       most as many cells as that many vectors allow.
    2. Each vector belongs to the cell of the centre of highest product; vectors are stored again,
       cell after cell.
    3. A query is compared with the vectors of the ``probes`` cells whose centres have the highest
       product with it; of those, exactly: all queries of a cell at once, see `Nearest`.

    To be used in a ``with`` statement.
    """

    def __init__(
        self, centres: Float[Tensor, "C D"], cell: Int64[Tensor, " M"], keys: Vectors
    ) -> None:
        self.centres, self.keys = centres, keys
        self.order = cell.argsort(stable=True).int()  # number of each vector before
        sizes = cell.bincount(minlength=len(centres))
        self.starts = [0, *sizes.cumsum(0).tolist()]

    def __enter__(self) -> "Cells":
        return self

    def __exit__(self, *error: object) -> None:
        self.keys.__exit__(None, None, None)

    @classmethod
    def build(
        cls, keys: Vectors, cells: int, *, seed: int, device: torch.device, memory_bytes: int
    ) -> "Cells":
        """Sort stored vectors into cells.

        Args:
            keys: Vectors of unit length. They are copied.
            cells: Number of cells.
            seed: Of the draws.
            device: Where the work is done; k-means is on the CPU.
            memory_bytes: With less, the copy is kept on the disk.
        """
        check_positive("Cells.build", cells=cells, keys=len(keys))
        cells = max(1, min(cells, len(keys) // _TRAINED_ON))
        centres = _train(keys, cells, seed).to(device)
        cell = torch.cat([_assign(block.to(device), centres) for block in _blocks(keys)])
        copy = Vectors(*keys.shape, memory_bytes=memory_bytes, dtype=keys.dtype)
        made = cls(centres, cell, copy)
        free = made.starts[:-1]
        first = 0
        for block in _blocks(keys):
            own = cell[first : first + len(block)]
            first += len(block)
            order = own.argsort(stable=True)
            sizes = own.bincount(minlength=cells).tolist()
            for number, part in enumerate(torch.split(block[order], sizes)):
                made.keys.write(free[number], part)
                free[number] += len(part)
        return made

    def nearest(
        self, queries: Float[Tensor, "Q D"], k: int, *, probes: int, below: float = math.inf
    ) -> Nearest:
        """Return the ``k`` most similar vectors in the cells that are probed."""
        check_positive("Cells.nearest", probes=probes)
        nearest = Nearest(queries, k, below=below)
        probed = torch.cat([self._probe(part, probes) for part in torch.split(queries, _PROBED)])
        # The best cell of each query first: then most vectors of the others are soon left out.
        for chosen in (probed[:, :1], probed[:, 1:]):
            flat = chosen.flatten()
            order = flat.argsort(stable=True)
            sizes = flat.bincount(minlength=len(self.centres)).tolist()
            rows = torch.split(order // max(1, chosen.shape[1]), sizes)
            for cell, own in enumerate(rows):
                self._search(nearest, cell, own)
        return nearest

    def _search(self, nearest: Nearest, cell: int, rows: Int64[Tensor, " R"]) -> None:
        if not len(rows):
            return
        for first in range(self.starts[cell], self.starts[cell + 1], self.keys.block):
            stop = min(first + self.keys.block, self.starts[cell + 1])
            block = self.keys.read(first, stop).to(rows.device)
            nearest.offer(block, self.order[first:stop].long().to(rows.device), rows)

    def _probe(self, queries: Float[Tensor, "Q D"], probes: int) -> Int64[Tensor, "Q P"]:
        scores = queries.new_empty(len(queries), len(self.centres))
        set_product(scores, queries, self.centres.T, half=False)
        return scores.topk(min(probes, len(self.centres)), dim=1).indices


def recall(found: Int64[Tensor, "Q k"], exact: Int64[Tensor, "Q k"]) -> float:
    """Return the share of the exact neighbours that were found.

    >>> recall(torch.tensor([[3, 1], [4, 5]]), torch.tensor([[1, 2], [5, 4]]))
    0.75
    """
    hits = (found[:, :, None] == exact[:, None, :]).any(dim=1)
    return float(hits.double().mean())


def _blocks(keys: Vectors) -> Iterator[Float[Tensor, "N D"]]:
    for first in range(0, len(keys), keys.block):
        yield keys.read(first, min(first + keys.block, len(keys)))


def _train(keys: Vectors, cells: int, seed: int) -> Float[Tensor, "C D"]:
    """Return centres of cells, of unit length."""
    import faiss  # noqa: PLC0415 - only where it is used

    wanted = torch.from_numpy(random_order(len(keys), seed, _SAMPLE)[: cells * _TRAINED_ON].copy())
    wanted = wanted.sort().values
    parts, first = [], 0
    for block in _blocks(keys):
        own = wanted[(wanted >= first) & (wanted < first + len(block))] - first
        parts.append(block[own])
        first += len(block)
    means = faiss.Kmeans(
        keys.shape[1],
        cells,
        niter=_ROUNDS,
        seed=random_seed(seed, _CENTRES) % 2**31,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINED_ON,
    )
    means.train(torch.cat(parts).numpy())
    return F.normalize(torch.from_numpy(means.centroids), dim=1)


def _assign(vectors: Float[Tensor, "N D"], centres: Float[Tensor, "C D"]) -> Int64[Tensor, " N"]:
    """Return the cell of each vector; which of two that are nearly as good, is left to rounding."""
    scores = vectors.new_empty(min(len(vectors), _ASSIGNED), len(centres))
    found = []
    for part in torch.split(vectors, _ASSIGNED):
        set_product(scores[: len(part)], part, centres.T, half=True)
        found.append(scores[: len(part)].argmax(dim=1).cpu())
    return torch.cat(found)
