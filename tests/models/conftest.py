"""What the tests of backbones share."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

Redraw = Callable[[nn.Module], None]


@pytest.fixture
def redraw() -> Redraw:
    """Give every weight a value that matters: no bias at 0, no scale at 1, no token alike."""

    def redraw_weights(module: nn.Module) -> None:
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

    return redraw_weights
