"""The nearest others of each of many vectors."""

import contextlib
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from patchwise.configs.neighbours import NeighboursConfig
from patchwise.features.notes import Say
from patchwise.features.progress import ImageProgress
from patchwise.features.search import Cells, nearest_exact, recall
from patchwise.features.vectors import Vectors
from patchwise.ops.nearest import without_own
from patchwise.randomness import random_order

_QUERIES = 2**14  # vectors whose neighbours are searched at a time
_SAMPLED = 1000  # vectors of which it is known what an inexact search misses
_SAMPLE_KEY = 102  # of their draw


@dataclass(frozen=True)
class Others:
    """The nearest others of each vector; see `nearest_others`."""

    cosines: Float[Tensor, "N k"]
    index: Int64[Tensor, "N k"]
    lacking: int  # vectors with fewer than k others that are no near-duplicates
    recall: float | None  # share of the true ones that were found, of a sample; None: all


def nearest_others(
    keys: Vectors, settings: NeighboursConfig, *, device: torch.device, memory_bytes: int, say: Say
) -> Others:
    """Return the k others of highest cosine for each of N vectors, those first; on the CPU.

    No vector is its own neighbour, even among equals; of equal cosines the lower number comes
    first. Up to ``settings.exact_images`` vectors all are compared with all. With more, each is
    compared with those in the `Cells` that are nearest to it, and a thousand are compared with all
    to say what that misses; which of equals comes first, is open then.

    With ``settings.duplicate_cosine``, others of that cosine or a higher one do not count. Where
    fewer than k are left, the nearest of those that do not count stand behind them.

    Args:
        keys: Of unit length; more than k.
        settings: Of the search.
        device: Where vectors are compared.
        memory_bytes: For the copy that an inexact search makes; with less it is on the disk.
        say: Told how far it is.
    """
    count, k = len(keys), settings.k
    limit = settings.duplicate_cosine
    below = math.inf if limit is None else limit
    cosines = torch.empty(count, k)
    index = torch.empty(count, k, dtype=torch.int64)
    lacking = 0
    with contextlib.ExitStack() as stack:
        cells = None
        if count > settings.exact_images:
            say(f"sorting {count} images into at most {settings.cells} groups of like ones")
            cells = stack.enter_context(
                Cells.build(keys, settings.cells, seed=0, device=device, memory_bytes=memory_bytes)
            )
        progress = ImageProgress(say, total=count, done=0, verb="compared")
        for first in range(0, count, _QUERIES):
            own = torch.arange(first, min(first + _QUERIES, count), device=device)
            queries = keys.read(first, first + len(own)).to(device)
            if cells is None:
                found = nearest_exact(queries, keys, k + 1, below=below)
            else:
                found = cells.nearest(queries, k + 1, probes=settings.probes, below=below)
            part = without_own(found.values, found.index, own)
            if cells is not None:
                _complete(*part, own, queries, keys, below)
            lacking += _complete(*part, own, queries, keys, None)
            cosines[first : first + len(own)], index[first : first + len(own)] = part
            progress.show(first + len(own))
        progress.end(count)
    shown = None if cells is None else _recall(index, keys, below, device)
    return Others(cosines, index, lacking, shown)


def _complete(
    cosines: Float[Tensor, "Q k"],
    index: Int64[Tensor, "Q k"],
    own: Int64[Tensor, " Q"],
    queries: Float[Tensor, "Q D"],
    keys: Vectors,
    below: float | None,
) -> int:
    """Fill up, in place, the rows that lack neighbours, by comparing with all; return how many.

    Args:
        cosines: What was found.
        index: What was found; -1 where there is nothing.
        own: Number of each query.
        queries: All of them.
        keys: All vectors.
        below: Limit of cosines; rows are found anew. None: no limit, and what was not found because
            of one is put behind what was.
    """
    short = (index[:, -1] < 0).nonzero()[:, 0]
    if not len(short):
        return 0
    k = index.shape[1]
    found = nearest_exact(queries[short], keys, k + 1, below=math.inf if below is None else below)
    values, others = without_own(found.values, found.index, own[short])
    there = (index[short] >= 0).sum(dim=1, keepdim=True) if below is None else 0
    # Without a limit the nearest come first: they are those that a limit has left out.
    place = torch.arange(k, device=index.device) - there
    taken = place.clamp(min=0).expand(len(short), k)
    kept = (place < 0).expand(len(short), k)
    cosines[short] = torch.where(kept, cosines[short], values.gather(1, taken))
    index[short] = torch.where(kept, index[short], others.gather(1, taken))
    return len(short)


def _recall(
    index: Int64[Tensor, "N k"], keys: Vectors, below: float, device: torch.device
) -> float:
    """Return the share of true neighbours that were found, of some vectors."""
    order = random_order(len(keys), 0, _SAMPLE_KEY)[:_SAMPLED]
    chosen = torch.from_numpy(order.copy())
    queries = torch.cat([keys.read(row, row + 1) for row in chosen.tolist()]).to(device)
    found = nearest_exact(queries, keys, index.shape[1] + 1, below=below)
    _, exact = without_own(found.values, found.index, chosen.to(device))
    exact = exact.cpu()
    # Where too few are below the limit, all were compared.
    return recall(index[chosen], torch.where(exact < 0, index[chosen], exact))
