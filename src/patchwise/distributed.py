"""What a method may ask of the other processes of a run. On one process: the identity."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Collectives(Protocol):
    """Operations over all processes; every process must call them in the same order."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the elementwise sum of ``tensor`` over processes; no gradient."""
        ...

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes one after the other, joined along the first axis.

        All must be of one shape. The gradient of each part flows back to its process.
        """
        ...

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return the tensor of the first process; all must be of one shape. No gradient."""
        ...


class OneProcess:
    """The collectives of a run with one process."""

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def size(self) -> int:
        """1."""
        return 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``."""
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``."""
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``."""
        return tensor


def gather_rows(rows: Float[Tensor, "R ..."], collectives: Collectives) -> Float[Tensor, "S ..."]:
    """Return the rows of all processes, in order of rank; each may have another number of them.

    As with `Collectives.gather`, the gradient of each row flows back to its process.
    """
    if collectives.size == 1:
        return rows
    own = torch.tensor([len(rows)], device=rows.device)
    counts: list[int] = collectives.gather(own).tolist()
    most = max(counts)
    if most == 0:
        return rows
    padding = rows.new_zeros(most - len(rows), *rows.shape[1:])
    padded = collectives.gather(torch.cat([rows, padding]))
    parts = enumerate(counts)
    return torch.cat([padded[rank * most :][:count] for rank, count in parts])
