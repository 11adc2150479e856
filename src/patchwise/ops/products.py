"""Matrix products of float32 tensors, made in bfloat16 and summed in float32 where wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def is_half(device: torch.device) -> bool:
    """Return whether autocast to bfloat16 is on for a device."""
    kind = device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16


def set_product(
    out: Float[Tensor, "M N"], a: Float[Tensor, "M L"], b: Float[Tensor, "L N"], *, half: bool
) -> None:
    """Make ``out`` the product a b.

    Args:
        out: float32, or float64 without ``half``.
        a: Of the same type.
        b: Of the same type.
        half: Whether factors are rounded to bfloat16. Sums are in float32 all the same, which
            products of bfloat16 tensors are not when they are returned.
    """
    if half and out.is_cuda:
        out.copy_(torch.mm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32))
        return
    with _factors_in_half(half):
        torch.mm(a, b, out=out)


def add_product(
    out: Float[Tensor, "M N"], a: Float[Tensor, "M L"], b: Float[Tensor, "L N"], *, half: bool
) -> None:
    """Add the product a b to ``out``; see `set_product`."""
    if half and out.is_cuda:
        out.add_(torch.mm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32))
        return
    with _factors_in_half(half):
        out.addmm_(a, b)


@contextmanager
def _factors_in_half(half: bool) -> Iterator[None]:
    """Let products of float32 tensors on a CPU round their factors to bfloat16."""
    settings: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    if half:
        settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before
