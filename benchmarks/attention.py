"""Attention of short sequences on a CPU: PyTorch's fused kernels against plain products.

    python -m benchmarks.attention

Forward and backward of whole backbones, bf16, batch 64; all variants in turn within each round,
medians of five rounds. This is what the rule in ``models/attention.py`` rests on.
"""

import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from patchwise.configs.backbone import ViTConfig
from patchwise.models import attention
from patchwise.models.vit import ViT

BATCH, ROUNDS = 64, 5
SHAPES = [(96, 6, 64), (96, 6, 32), (128, 6, 64), (128, 6, 32), (192, 12, 64), (192, 12, 32)]


class Rule(Protocol):
    def __call__(self, query: torch.Tensor) -> bool: ...


def images_per_s(vit: ViT, images: torch.Tensor, kernel: AbstractContextManager[object]) -> float:
    """Time one forward and backward."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16), kernel:
        output = vit(images)
    (output.cls.float().square().mean() + output.patches.float().square().mean()).backward()
    return len(images) / (time.perf_counter() - start)


def never(query: torch.Tensor) -> bool:
    """Leave all attention to the fused kernel."""
    return False


def main() -> None:
    """Print a table."""
    rule = attention._steps_are_faster
    variants: dict[str, tuple[Rule, Callable[[], AbstractContextManager[object]]]] = {
        "fused, default": (never, nullcontext),
        "fused, math": (never, lambda: sdpa_kernel(SDPBackend.MATH)),
        "ours": (rule, nullcontext),
    }
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}; images/s, bf16, forward and backward, batch {BATCH}")
    for dim, depth, side_px in SHAPES:
        config = ViTConfig(dim=dim, depth=depth, heads=dim // 32, patch_px=8, image_px=side_px)
        vit, images = ViT(config), torch.randn(BATCH, 3, side_px, side_px)
        speeds: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(ROUNDS + 1):  # the first round warms up
            for name, (chosen, kernel) in variants.items():
                attention._steps_are_faster = chosen
                speeds[name].append(images_per_s(vit, images, kernel()))
        attention._steps_are_faster = rule
        medians = "  ".join(f"{n} {statistics.median(s[1:]):.0f}" for n, s in speeds.items())
        print(f"{dim} wide, {depth} deep, {side_px} px: {medians}", flush=True)


if __name__ == "__main__":
    main()
