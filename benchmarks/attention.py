"""Attention on a CPU in bfloat16: PyTorch's fused kernels against plain products.

    python -m benchmarks.attention

Forward and backward of attention alone, three heads of 64 channels, from joint queries, keys and
values to joined heads; medians of five rounds. The rule in ``models/attention.py`` rests on this.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.measuring import machine, seconds_in_turn
from patchwise.models.attention import _attend_by_steps

SHAPES = [(64, 37), (16, 50), (32, 101), (8, 197), (16, 197), (2, 577)]  # images, tokens
HEADS, CHANNELS = 3, 64

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def math_kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's own plain products."""
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value)


def run(attend: Attend, joint: Tensor) -> None:
    """Attend forward and backward."""
    with torch.autocast("cpu", torch.bfloat16):
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        mixed = attend(query, key, value).transpose(1, 2).flatten(2)
    mixed.backward(torch.ones_like(mixed))  # type: ignore[no-untyped-call]


def main() -> None:
    """Print a table."""
    kinds: dict[str, Attend] = {
        "fused": F.scaled_dot_product_attention,
        "math": math_kernel,
        "ours": _attend_by_steps,
    }
    print(machine())
    print("milliseconds, bf16, forward and backward")
    for images, tokens in SHAPES:
        shape = (images, tokens, 3, HEADS, CHANNELS)
        joint = torch.randn(shape, dtype=torch.bfloat16, requires_grad=True)
        variants = {name: functools.partial(run, kind, joint) for name, kind in kinds.items()}
        found = seconds_in_turn(variants)
        times = "  ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in found.items())
        print(f"{images} images, {tokens} tokens: {times}", flush=True)


if __name__ == "__main__":
    main()
