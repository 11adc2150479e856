"""Batch normalisation in parts: against torch's of the whole batch, and its gradient."""

import pytest
import torch
from torch import Tensor, nn

from patchwise.eval.batch_norm import WholeBatchNorm

DRAW = torch.Generator().manual_seed(0)
MAPS = torch.randn(7, 4, 3, 5, generator=DRAW, dtype=torch.float64) * 3 + 20
ONWARD = torch.randn(MAPS.shape, generator=DRAW, dtype=torch.float64)


def layer() -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(4, momentum=0.3, eps=0.1).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
        made.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 3.0]))
    return made


def in_parts(made: nn.BatchNorm2d, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """What comes out, and the gradient of what goes in."""
    parts = list(zip(torch.split(MAPS, sizes), torch.split(ONWARD, sizes), strict=True))
    norm = WholeBatchNorm(made)
    for maps, _ in parts:
        norm.add(maps)
    norm.keep_statistics()
    out = torch.cat([norm.normalise(maps) for maps, _ in parts])
    for maps, onward in parts:
        norm.add_gradient(onward, maps)
    norm.keep_gradients()
    return out, torch.cat([norm.gradient(onward, maps) for maps, onward in parts])


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 4], [4, 1, 2]])
def test_parts_give_what_the_whole_batch_gives(sizes: list[int]) -> None:
    parted, whole = layer(), layer()
    maps = MAPS.clone().requires_grad_()
    expected = whole(maps)
    expected.backward(ONWARD)
    out, gradient = in_parts(parted, sizes)
    torch.testing.assert_close(out, expected.detach())
    torch.testing.assert_close(gradient, maps.grad)
    torch.testing.assert_close(parted.state_dict(), whole.state_dict())
    for name, weight in parted.named_parameters():
        torch.testing.assert_close(weight.grad, whole.get_parameter(name).grad)


def test_gradients_are_added_to_those_that_there_are() -> None:
    once, twice = layer(), layer()
    in_parts(once, [3, 4])
    for _ in range(2):
        in_parts(twice, [3, 4])
    for name, weight in twice.named_parameters():
        gradient = once.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(weight.grad, 2 * gradient)
    assert twice.num_batches_tracked == 2


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    """The variance is that of distances: sums of squares would lose it in float32."""
    made = layer().float()
    norm = WholeBatchNorm(made)
    far = (MAPS + 3000).float()
    for maps in torch.split(far, 2):
        norm.add(maps)
    norm.keep_statistics()
    expected = 0.7 + 0.3 * far.double().var(dim=(0, 2, 3))
    assert made.running_var is not None
    torch.testing.assert_close(made.running_var.double(), expected, rtol=1e-4, atol=0)


def test_weights_and_running_statistics_take_no_part_in_autograd() -> None:
    made = layer()
    out, gradient = in_parts(made, [3, 4])
    for tensor in (out, gradient, made.running_mean, made.running_var, made.weight.grad):
        assert tensor is not None
        assert not tensor.requires_grad
