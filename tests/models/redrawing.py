"""Weights that all matter: no bias at 0, no scale at 1, no token alike."""

import torch
from torch import nn


def redraw(module: nn.Module) -> None:
    """Give every weight such a value, the same ones for the same names and shapes."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            if "token" in name or "pos" in name:
                weight.copy_(drawn / 2)
            elif weight.ndim > 1:
                weight.copy_(drawn / (weight.numel() / len(weight)) ** 0.5)
            elif name.endswith("bias"):
                weight.copy_(drawn / 3)
            else:
                weight.copy_(1 + drawn.clamp(-2, 2) / 4)
