"""What patches around the last block look like: samples, and the prototypes found among them.

Letters: B images, N patches row by row, D channels, S samples, M prototypes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape
from patchwise.distributed import Collectives
from patchwise.models.fifo import FIFO
from patchwise.models.object_filter import SIDE
from patchwise.ops.assignment import k_means
from patchwise.randomness import random_order, random_seed

_DRAWS, _STARTS = 1, 2  # keys of what is drawn
_MOST_ITERATIONS = 3000


def pool_samples(
    patches: Float[Tensor, "B N D"], grid: tuple[int, int]
) -> Float[Tensor, "B D 3 3"]:
    """Return maps of patch tokens, averaged in 3 x 3 cells that cover them, as prototypes are."""
    rows, columns = grid
    check_shape("pool_samples", (None, rows * columns, None), patches=patches)
    return F.adaptive_avg_pool2d(patches.mT.reshape(len(patches), -1, rows, columns), SIDE)


class SampleBank(nn.Module):
    """The latest samples of a run, of which the first prototypes are made. Saved with the model.

    Until it is full, all samples of a step enter; then a few of them, drawn anew each step. Every
    process adds its own to the banks of all, so that the banks are equal, and equal to that of one
    process that sees all images.

    Source: Wen et al. 2025 (CoTAP), arXiv:2509.09429.
    """

    def __init__(self, dim: int, *, capacity: int = 1024, most_a_step: int = 32) -> None:
        super().__init__()
        check_positive("SampleBank", most_a_step=most_a_step)
        self.queue = FIFO(capacity, (dim, SIDE, SIDE))
        self.most_a_step = most_a_step

    @property
    def full(self) -> bool:
        """Whether there are samples enough for prototypes."""
        return self.queue.full

    def samples(self) -> Float[Tensor, "S D 3 3"]:
        """Return the samples, oldest first; a copy."""
        return self.queue.items()

    @torch.no_grad()
    def add(
        self, samples: Float[Tensor, "B D 3 3"], *, seed: int, step: int, collectives: Collectives
    ) -> bool:
        """Take in samples of a step; return whether the bank has become full by them.

        That happens once in a run, also in one that was interrupted.

        Args:
            samples: Of this process, see `pool_samples`; as many as in every other one. Where an
                image has several, they lie side by side, so that the order of all is that of the
                images, however many processes share them.
            seed: Of the run; with the step it draws which samples enter a bank that is full, among
                those of all processes. The first ones would always be those of the same process.
            step: Of the run.
            collectives: Of the run.
        """
        was_full = self.full
        everywhere = collectives.gather(samples)
        if was_full:
            order = random_order(len(everywhere), seed, step, _DRAWS)[: self.most_a_step]
            everywhere = everywhere[torch.from_numpy(order.copy()).to(everywhere.device)]
        self.queue.push(everywhere)
        return self.full and not was_full

    @torch.no_grad()
    def find_prototypes(
        self, count: int, *, seed: int, collectives: Collectives
    ) -> Float[Tensor, "M D 3 3"]:
        """Return the centres of clusters of the samples by cosine, the same on all processes.

        The centres have unit length over all of their 3 x 3 x D numbers. `k_means` seeds clusters
        that have lost their samples anew, and stops when no sample moves, or after 3,000
        iterations. For `ObjectFilter.set_prototypes`, of the student and of its teacher.

        Raises:
            RangeError: There are fewer samples than prototypes.
        """
        found = k_means(
            self.samples().flatten(1),
            count,
            seed=random_seed(seed, _STARTS),
            iterations=_MOST_ITERATIONS,
            spherical=True,
        )
        # Banks are equal, but machines may round differently.
        return collectives.broadcast(found.centres).reshape(-1, *self.queue.stored.shape[1:])
