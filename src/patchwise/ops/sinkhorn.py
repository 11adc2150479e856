"""Assignments of samples to prototypes that use every prototype alike."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_positive, check_shape
from patchwise.distributed import Collectives, OneProcess

# Scores worked on at a time: a cache's worth; enough to fill a GPU.
_BLOCK_NUMBERS = {"cpu": 2**17, "cuda": 2**25}
_ALONE = OneProcess()


@torch.no_grad()
def sinkhorn(
    scores: Float[Tensor, "R K"],
    queue: Float[Tensor, "Q K"] | None = None,
    *,
    temperature: float,
    iterations: int = 3,
    collectives: Collectives = _ALONE,
) -> Float[Tensor, "R K"]:
    """Return how much of each sample belongs to each prototype, no prototype being preferred.

        A = exp(scores / temperature), of the samples of all processes
        ``iterations`` times:  every column of A is scaled to sum 1 / K, then every row to 1 / R
        at the end every row is scaled to sum 1

    Factors are kept as logarithms, and rows are worked on in blocks: no temperature is too low, and
    no more than a copy of ``scores`` is held besides the answer, however long the queue is. Once
    the columns of A sum to 1 / K, no row sums to more than 1, so that scaling rows to 1 makes every
    number larger: the sum of no column can vanish.

    Args:
        scores: Of samples with prototypes, a row a sample. Half precision is worked on in float32.
        queue: Scores of earlier samples. They count as samples, but get no answer. None, and a
            queue without rows, add nothing.
        temperature: Divisor of the scores; > 0.
        iterations: Columns come as near to equal sums as these many rounds bring them.
        collectives: Those of a run of several processes. Each calls with rows and a queue of its
            own, as many as it has, be it none.

    Returns:
        Rows that sum to 1; all 1 / K if all scores are equal. One row alone has 1 / K everywhere,
        as each prototype must take the same share of it. No gradient.

    Raises:
        ShapeError: The queue has another number of prototypes.
        RangeError: Temperature or iterations are not positive.

    Source: Cuturi 2013, arXiv:1306.0895; SwAV, Caron et al. 2020, arXiv:2006.09882, as CoTAP,
        arXiv:2509.09429, uses it.
    Differs: the sums are those of all processes; CoTAP's authors drop what they reduce.

    >>> scores = torch.tensor([[5.0, 4.9], [5.0, 4.0]])  # both would rather have the first
    >>> sinkhorn(scores, temperature=0.05, iterations=100).round(decimals=2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    name = "sinkhorn"
    check_positive(name, temperature=temperature, iterations=iterations)
    check_shape(name, (None, None), scores=scores)
    earlier = scores[:0] if queue is None else queue
    check_shape(name, (None, scores.shape[1]), queue=earlier)
    dtype = torch.promote_types(scores.dtype, torch.float32)
    column = torch.zeros(scores.shape[1], dtype=dtype, device=scores.device)  # log of its factor
    total = torch.full_like(column, -torch.inf)
    for logits in _logits((scores, earlier), temperature, column):
        total = torch.logaddexp(total, logits.logsumexp(dim=0))
    column -= collectives.gather(total[None]).logsumexp(dim=0)
    for _ in range(iterations - 1):
        total = torch.zeros_like(column)
        for logits in _logits((scores, earlier), temperature, column):
            total += logits.softmax(dim=1).sum(dim=0)
        column -= collectives.sum(total).log()
    return (scores.to(dtype) / temperature).add_(column).softmax(dim=1)


def _logits(
    parts: Sequence[Tensor], temperature: float, column: Float[Tensor, " K"]
) -> Iterator[Float[Tensor, "rows K"]]:
    """Yield scores / temperature + column, of some rows of some part after the other."""
    most = _BLOCK_NUMBERS[column.device.type]
    for part in parts:
        for block in torch.split(part, max(1, most // max(1, part.shape[1]))):
            yield torch.add(column, block.to(column.dtype), alpha=1 / temperature)
