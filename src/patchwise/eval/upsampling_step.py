"""Gradients of an upsampling head: few images are computed at a time, as if it were all at once.

Letters: B images, b of a part, h w rows and columns, D channels.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from patchwise.eval.batch_norm import WholeBatchNorm
from patchwise.eval.heads import UpsampleBlock, UpsamplingHead, enlarge
from patchwise.eval.kept_maps import KeptMaps, Room

Send = Callable[[Float[Tensor, "b _ _ _"], int], None]
_HELD = 2**23  # values of the largest map that are computed at a time, if one image has no more
_ALIVE = 12  # such maps at the same time


def add_gradients(
    head: UpsamplingHead, features: Float[Tensor, "B h w D"], send: Send, *, memory_bytes: int
) -> None:
    """Add the gradients of a loss to those of a head's weights, in training.

    They are those of ``head(features)`` and a backward pass: batch normalisation is by the
    statistics of the whole batch, and running statistics follow. Of each block, what goes into its
    normalisations is kept, and later, in its place, the gradient of what came out. The rest is
    computed again, which takes a third more products than in one piece.

    Args:
        head: In training.
        features: Of a batch.
        send: Calls ``backward`` for the loss of scores [b, K, ...], of the images from a number on.
        memory_bytes: For all this; what it has no room for is kept on the disk. No value depends on
            it, as the parts do not.
    """
    blocks = cast("list[UpsampleBlock]", list(head.blocks))
    places = features[0, ..., 0].numel()
    sizes = [
        places * 4**depth * max(block.dim, 4 * block.out_dim) for depth, block in enumerate(blocks)
    ]
    working_bytes = _ALIVE * max(_HELD, *sizes) * features.element_size()

    def onward(maps: Tensor, first: int) -> None:
        send(head.score(enlarge(maps)), first)

    with Room(max(0, memory_bytes - working_bytes)) as room:
        outputs: Iterable[Tensor] = (features.movedim(-1, 1),)
        steps: list[_BlockStep] = []
        for block, size in zip(blocks, sizes, strict=True):
            inputs = KeptMaps(outputs, count=len(features), room=room)
            some = max(1, _HELD // size)
            steps.append(_BlockStep(block, inputs, enlarged=len(steps) > 0, some=some))
            outputs = steps[-1].outputs()
        gradients = steps.pop().backward(onward)
        while steps:
            above, gradients = gradients, steps.pop().backward(_handing_on(gradients))
            above.free()
        gradients.free()


def _handing_on(gradients: KeptMaps) -> Send:
    """Return what hands gradients on to the parts of the maps that they are of."""

    def send(maps: Tensor, first: int) -> None:
        maps.backward(gradients.read(first, first + len(maps)))  # type: ignore[no-untyped-call]

    return send


class _BlockStep:
    """A block, from its input before this is enlarged, if it is, to its output before that is."""

    def __init__(
        self, block: UpsampleBlock, inputs: KeptMaps, *, enlarged: bool, some: int
    ) -> None:
        self._block, self._inputs, self._enlarged = block, inputs, enlarged
        starts = range(0, inputs.count, some)
        self._parts = [(start, min(start + some, inputs.count)) for start in starts]
        self._norm, self._wide_norm = WholeBatchNorm(block.norm), WholeBatchNorm(block.wide_norm)
        self._narrow = inputs.beside(self._narrowed())
        self._norm.keep_statistics()
        self._wide = inputs.beside(self._widened())
        self._wide_norm.keep_statistics()

    @torch.no_grad()
    def _narrowed(self) -> Iterator[Tensor]:
        for part in self._parts:
            maps = self._block.narrow(self._entering(self._inputs.read(*part)))
            self._norm.add(maps)
            yield maps

    @torch.no_grad()
    def _widened(self) -> Iterator[Tensor]:
        for part in self._parts:
            maps = self._block.widen(F.relu(self._norm.normalise(self._narrow.read(*part))))
            self._wide_norm.add(maps)
            yield maps

    @torch.no_grad()
    def outputs(self) -> Iterator[Tensor]:
        """Yield what the next block reads, and enlarges."""
        for part in self._parts:
            residual = self._wide_norm.normalise(self._wide.read(*part))
            yield self._block.join(self._entering(self._inputs.read(*part)), residual)

    def backward(self, onward: Send) -> KeptMaps:
        """Add the gradients of the block's weights; return that of its input.

        ``onward`` calls ``backward`` for what it is given of the block's output. Nothing else is
        kept of the block afterwards.
        """
        gradients = self._inputs.beside(self._backward_to_residual(onward))
        self._wide_norm.keep_gradients()
        self._backward_to_narrow()
        self._norm.keep_gradients()
        self._backward_to_input(gradients)
        for maps in (self._inputs, self._narrow, self._wide):
            maps.free()
        return gradients

    def _backward_to_residual(self, onward: Send) -> Iterator[Tensor]:
        """Keep the gradient of the residual; yield that of the input besides."""
        for part in self._parts:
            inputs, wide = self._inputs.read(*part).requires_grad_(), self._wide.read(*part)
            residual = self._wide_norm.normalise(wide).requires_grad_()
            onward(self._block.join(self._entering(inputs), residual), part[0])
            self._wide_norm.add_gradient(_gradient(residual), wide)
            self._wide.write(part[0], _gradient(residual))
            yield _gradient(inputs)

    def _backward_to_narrow(self) -> None:
        for part in self._parts:
            narrow = self._narrow.read(*part)
            normalised = self._norm.normalise(narrow).requires_grad_()
            wide = self._block.widen(F.relu(normalised))
            wide.backward(self._wide_norm.gradient(self._wide.read(*part), wide))
            self._norm.add_gradient(_gradient(normalised), narrow)
            self._narrow.write(part[0], _gradient(normalised))

    def _backward_to_input(self, gradients: KeptMaps) -> None:
        for part in self._parts:
            inputs = self._inputs.read(*part).requires_grad_()
            narrow = self._block.narrow(self._entering(inputs))
            narrow.backward(self._norm.gradient(self._narrow.read(*part), narrow))
            gradients.write(part[0], gradients.read(*part) + _gradient(inputs))

    def _entering(self, inputs: Tensor) -> Tensor:
        return enlarge(inputs) if self._enlarged else inputs


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None, "it has been a part of what went backward"
    return tensor.grad
