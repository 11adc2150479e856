"""What a method may ask of the other processes of a run. On one process: the identity."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Collectives(Protocol):
    """Operations over all processes; every process must call them in the same order."""

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

    def sum(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``."""
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``."""
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``."""
        return tensor
