"""Backward of a loss in parts that share what came before them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class Cut:
    """A tensor cut off from its graph, so that parts of a loss can go backward one at a time.

    Each part uses ``leaf``, where its gradient is added up; the graph behind it is kept. At the
    end, the backward of :meth:`rest` hands the sum on to that graph, once for all parts.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self.leaf = value.detach().requires_grad_(torch.is_grad_enabled())

    def rest(self) -> Float[Tensor, ""]:
        """Return 0, with the gradient that has reached ``leaf``."""
        if self.leaf.grad is None:
            return self._value.new_zeros(())
        result: Tensor = _HandOn.apply(self._value, self.leaf.grad)  # type: ignore[no-untyped-call]
        return result


class _HandOn(torch.autograd.Function):
    """0, whose gradient with respect to a tensor is given."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradient: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(gradient)
        return value.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(scale), None  # nobody else has it
