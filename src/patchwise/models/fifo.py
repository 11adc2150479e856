"""The latest so many tensors of one shape, first in, first out."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchwise.checks import check_positive, check_shape


class FIFO(nn.Module):
    """A queue whose oldest items make room for new ones. It is saved with the model.

    Letters: M items of any one shape.
    """

    def __init__(self, capacity: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        check_positive("FIFO", capacity=capacity)
        self.stored = nn.Buffer(torch.zeros(capacity, *shape))
        self.pushed = nn.Buffer(torch.zeros((), dtype=torch.int64, device="cpu"))
        """Items that were ever pushed."""

    @property
    def capacity(self) -> int:
        """The most items there can be."""
        return len(self.stored)

    @property
    def count(self) -> int:
        """Items there are."""
        return min(int(self.pushed), self.capacity)

    @property
    def full(self) -> bool:
        """Whether the next item makes the oldest leave."""
        return self.count == self.capacity

    @torch.no_grad()
    def push(self, items: Float[Tensor, "M ..."]) -> None:
        """Add items, the last of which is then the newest. Of too many, the last remain.

        Raises:
            ShapeError: They are of another shape.
        """
        check_shape("FIFO.push", (None, *self.stored.shape[1:]), items=items)
        kept = items[-self.capacity :]
        first = int(self.pushed) + len(items) - len(kept)
        places = torch.arange(first, first + len(kept), device=self.stored.device) % self.capacity
        self.stored[places] = kept.to(self.stored.dtype)
        self.pushed.add_(len(items))

    @torch.no_grad()
    def fill(self) -> None:
        """Be full, of ones: for a measurement that is thrown away."""
        self.stored.fill_(1)
        self.pushed.fill_(self.capacity)

    def items(self) -> Float[Tensor, "M ..."]:
        """Return the items, oldest first; a copy, which later ones do not change."""
        oldest = int(self.pushed) % self.capacity if self.full else 0
        return torch.cat([self.stored[oldest : self.count], self.stored[:oldest]])
