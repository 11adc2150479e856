"""Scores of earlier samples, over which later assignments are balanced."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchwise.checks import check_positive
from patchwise.distributed import Collectives, gather_rows
from patchwise.models.fifo import FIFO
from patchwise.randomness import random_order


class ScoreQueue(nn.Module):
    """The latest scores of all processes, first in, first out. Saved with the model.

    Every process holds all of them, so that a run can go on with another number of processes; each
    takes a share of them to `patchwise.ops.sinkhorn.sinkhorn`, which adds up over processes.

    Letters: R rows, K prototypes.

    Source: SwAV, Caron et al. 2020, arXiv:2006.09882; CoTAP, Wen et al. 2025, arXiv:2509.09429.
    """

    def __init__(self, capacity: int, prototypes: int, *, most_a_step: int, fill: bool) -> None:
        """Make an empty queue.

        Args:
            capacity: Rows, over all processes.
            prototypes: K.
            most_a_step: Rows that each process adds in a step.
            fill: Whether all rows of a step are added as long as there is room for them.
        """
        super().__init__()
        check_positive("ScoreQueue", most_a_step=most_a_step)
        self.scores = FIFO(capacity, (prototypes,))
        self.steps = FIFO(capacity, ())
        self.most_a_step, self.fill = most_a_step, fill

    def share(self, collectives: Collectives) -> Float[Tensor, "R K"]:
        """Return the rows that this process takes to an assignment; not a copy."""
        return self.scores.stored[: self.scores.count][collectives.rank :: collectives.size]

    @property
    def empty(self) -> bool:
        """Whether nothing was added yet."""
        return self.scores.count == 0

    def settle(self) -> None:
        """Be full: for a measurement that is thrown away."""
        self.scores.fill()
        self.steps.fill()

    def age(self, step: int) -> Float[Tensor, ""]:
        """Return how many steps ago the rows were added, on average; 0 without rows."""
        added = self.steps.stored[: self.steps.count]
        return step - added.mean() if len(added) else added.new_zeros(())

    @torch.no_grad()
    def add(
        self, rows: Float[Tensor, "R K"], *, seed: int, step: int, collectives: Collectives
    ) -> None:
        """Add rows of a step, of all processes in order of rank.

        Args:
            rows: Of this process, any number. Of too many, some are drawn.
            seed: Of the run; what is drawn follows from it, the step and the rank.
            step: Of the run.
            collectives: Of the run.
        """
        room = self.scores.capacity - self.scores.count
        if len(rows) > (max(room, self.most_a_step) if self.fill else self.most_a_step):
            drawn = random_order(len(rows), seed, step, collectives.rank)[: self.most_a_step]
            drawn.sort()
            rows = rows[torch.from_numpy(drawn).to(rows.device)]
        everywhere = gather_rows(rows, collectives)
        self.scores.push(everywhere)
        self.steps.push(everywhere.new_full((len(everywhere),), float(step)))
