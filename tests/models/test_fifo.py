"""First in, first out."""

from collections import deque

import pytest
import torch

from patchwise.errors import RangeError, ShapeError
from patchwise.models.fifo import FIFO


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_it_is_a_deque_of_limited_length(shape: tuple[int, ...]) -> None:
    queue, expected = FIFO(5, shape), deque[float](maxlen=5)
    assert queue.items().shape == (0, *shape)
    new = 0.0
    for count in (0, 2, 1, 0, 4, 5, 12, 3, 1, 1):
        values = new + torch.arange(float(count))
        new += count
        queue.push(values.reshape(-1, *[1 for _ in shape]).expand(count, *shape))
        expected.extend(values.tolist())
        assert queue.items().flatten(1)[:, 0].tolist() == list(expected) if shape else True
        assert queue.items().shape == (len(expected), *shape)
        assert queue.count == len(expected)
        assert queue.full == (len(expected) == 5)


def test_it_is_saved_with_the_model() -> None:
    queue, other = FIFO(3, (2,)), FIFO(3, (2,))
    queue.push(torch.randn(4, 2))
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.items(), queue.items())
    for each in (queue, other):
        each.push(torch.ones(1, 2))
    assert torch.equal(other.items(), queue.items())


def test_items_are_a_copy_without_gradient() -> None:
    queue = FIFO(3, (2,))
    items = torch.randn(2, 2, requires_grad=True)
    queue.push(items)
    before = queue.items()
    assert not before.requires_grad
    kept = before.clone()
    queue.push(torch.zeros(3, 2))
    assert torch.equal(before, kept)


def test_items_of_any_precision_are_taken() -> None:
    queue = FIFO(3, (2,))
    queue.push(torch.ones(2, 2, dtype=torch.bfloat16))
    assert queue.items().dtype == torch.float32


@pytest.mark.bad_input
def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(RangeError, match="capacity must be positive, got 0"):
        FIFO(0, ())
    with pytest.raises(ShapeError, match=r"FIFO.push: items must have shape \(any, 2\)"):
        FIFO(3, (2,)).push(torch.zeros(2, 3))


def test_filled_it_is_full_of_ones() -> None:
    queue = FIFO(4, (2,))
    queue.fill()
    assert queue.full
    assert torch.equal(queue.items(), torch.ones(4, 2))
