"""All ways of computing scores must find the same ones."""

import pytest
import torch
from benchmarks.filter import WAYS, run_backbone, run_way
from torch import Tensor

from tests.small_runs import small_filtered


@pytest.mark.parametrize("name", WAYS)
def test_every_way_finds_the_same_scores(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 4, 6, 3, 8, generator=generator)
    keys = torch.randn(3, 5, 8, 3, 3, generator=generator)
    found: Tensor = WAYS[name](maps, keys)
    expected = WAYS["one convolution"](maps, keys).reshape(2, 3, 5, 4, 6)
    if found.shape == (2, 3, 24, 5):
        found = found.mT
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=0, atol=1e-4)
    run_way(WAYS[name], maps.requires_grad_(), keys.requires_grad_(), backward=True)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_backbones_are_run_and_cleaned(backward: bool, half: bool) -> None:
    backbone = small_filtered()
    run_backbone(backbone, torch.rand(2, 3, 32, 32), backward=backward, half=half)
    assert all(weight.grad is None for weight in backbone.parameters())
