"""The contract between a training method and the one training loop.

The loop, for every optimiser step:

1. For each part of the batch: ``views = make_views(batch, step)``; then every `StepLoss` that
   ``losses(views, step)`` yields is backward'ed before the next one is asked for, so that the
   graph of one crop size is freed before the next one is built.
2. Gradients are averaged over processes, clipped, and the optimiser steps.
3. ``after_step(carries, step)`` updates what gradients do not: teacher, centre, queue.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from patchwise.distributed import Collectives
from patchwise.models.backbone import Backbone
from patchwise.types import ImageBatch

Batch = Mapping[str, ImageBatch]  # by `Input.name` and `Input.neighbour_name`
ViewsT = TypeVar("ViewsT")
CarryT = TypeVar("CarryT")


@dataclass(frozen=True)
class Input:
    """A stream of images that a method trains on, each in an order of its own."""

    name: str
    neighbours: bool = False  # each image comes with one of its nearest images, drawn anew

    @property
    def neighbour_name(self) -> str:
        """Where a batch has the neighbours: image i's is at place i."""
        return f"{self.name}.neighbour"


@dataclass(frozen=True)
class Step:
    """Where a run stands. Schedules are pure functions of it."""

    index: int  # optimiser steps done before this one
    total: int  # optimiser steps of the whole run
    steps_per_epoch: int
    seed: int
    collectives: Collectives
    watched: bool = False  # whether it will be logged, and `StepLoss.health` is wanted

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1)."""
        return self.index / self.total

    @property
    def epoch(self) -> float:
        """Epochs that are done, parts included."""
        return self.index / self.steps_per_epoch


@dataclass(frozen=True)
class StepLoss(Generic[CarryT]):
    """One part of what a step minimises. The parts of a step add up."""

    total: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]  # detached, for the log; the same name twice adds up
    carry: CarryT | None = None  # detached; what `Method.after_step` needs of this part
    health: dict[str, Float[Tensor, ""]] = field(default_factory=dict)
    """Detached, on watched steps only; the mean over parts is logged. See docs/health.md."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are optimised alike."""

    name: str
    parameters: dict[str, nn.Parameter]
    decayed: bool
    rate_scale: float = 1.0  # times the peak of the learning rate; all end at the same rate
    frozen_epochs: float = 0.0  # epochs before they begin to move


class Method(nn.Module, ABC, Generic[ViewsT, CarryT]):
    """A method says how to make views, what to minimise, and what follows a step."""

    inputs: ClassVar[tuple[Input, ...]] = (Input("images"),)
    """The streams of images that batches hold, one for each image set."""

    @classmethod
    def reads(cls, wanted: Input, config: Any) -> bool:  # noqa: ANN401 - of the method
        """Tell whether settings of this method train on a stream; others are not read."""
        return True

    @property
    @abstractmethod
    def backbone(self) -> Backbone:
        """The backbone that is evaluated and saved: the teacher's or the student's."""

    @abstractmethod
    def make_views(self, batch: Batch, step: Step) -> ViewsT:
        """Augment a batch. Whatever is random about an image is keyed by it, here and later."""

    @abstractmethod
    def losses(self, views: ViewsT, step: Step) -> Iterator[StepLoss[CarryT]]:
        """Yield the parts of the loss; each must be backward'ed before the next is asked for.

        The parts' totals add up to the loss. Changes no state.
        """

    @abstractmethod
    def after_step(self, carries: Sequence[CarryT], step: Step) -> None:
        """Update what gradients do not, once per optimiser step.

        Args:
            carries: What `losses` carried, over all parts of the batch of this process.
            step: The step that was just made.
        """

    def settle(self) -> None:
        """Take what a step takes when a run is under way, for a measurement that is thrown away.

        For methods whose steps cost more once queues are full; others have nothing to do here.
        """

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Return all trained parameters, each in exactly one group."""


def decay_groups(
    module: nn.Module, name: str, *, rate_scale: float = 1.0, frozen_epochs: float = 0.0
) -> list[ParameterGroup]:
    """Split a module's trained parameters: matrices are decayed, biases and vectors are not.

    Source: DINO's rule, arXiv:2104.14294; embeddings, having more than one axis, are decayed.
    """
    trained = {n: p for n, p in module.named_parameters(prefix=name) if p.requires_grad}
    matrices = {n: p for n, p in trained.items() if p.ndim > 1 and not n.endswith(".bias")}
    others = {n: p for n, p in trained.items() if n not in matrices}
    groups = [
        ParameterGroup(f"{name}.decayed", matrices, True, rate_scale, frozen_epochs),
        ParameterGroup(f"{name}.undecayed", others, False, rate_scale, frozen_epochs),
    ]
    return [group for group in groups if group.parameters]
