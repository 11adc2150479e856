"""Averaged gradients and equal starts, over processes that are threads."""

from collections.abc import Callable
from threading import Barrier, Thread

import pytest
import torch
from torch import Tensor, nn

from patchwise.data.bad_images import BadImages
from patchwise.data.loader import LoadedBatch
from patchwise.distributed import Collectives, OneProcess
from patchwise.errors import DataError
from patchwise.training import sharing
from patchwise.training.sharing import average_gradients, equalise, share_bad_images

Act = Callable[[Collectives], None]


class OfOne:
    """The collectives of one of some threads; counts its messages."""

    def __init__(self, rank: int, barrier: Barrier, held: list[Tensor]) -> None:
        self.rank, self.size = rank, barrier.parties
        self.barrier, self.held = barrier, held
        self.messages = 0

    def sum(self, tensor: Tensor) -> Tensor:
        self.messages += 1
        self.held[self.rank] = tensor.clone()
        self.barrier.wait(timeout=30)
        total = torch.stack(self.held).sum(dim=0).to(tensor.dtype)
        self.barrier.wait(timeout=30)
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        raise AssertionError("not needed")

    def broadcast(self, tensor: Tensor) -> Tensor:
        return self.sum(tensor if self.rank == 0 else torch.zeros_like(tensor))


def together(*acts: Act) -> list[OfOne]:
    """Let threads act at the same time."""
    barrier, held = Barrier(len(acts)), [torch.empty(0)] * len(acts)
    collectives = [OfOne(rank, barrier, held) for rank in range(len(acts))]
    threads = [Thread(target=act, args=(own,)) for act, own in zip(acts, collectives, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return collectives


def parameters(*gradients: float | None) -> list[nn.Parameter]:
    """Parameters of several sizes and two types."""
    made = []
    for number, gradient in enumerate(gradients):
        dtype = torch.float64 if number % 3 == 2 else torch.float32
        parameter = nn.Parameter(torch.zeros(number + 1, 2, dtype=dtype))
        if gradient is not None:
            parameter.grad = torch.full_like(parameter, gradient)
        made.append(parameter)
    return made


@pytest.mark.parametrize("most", [2**24, 7, 1])
def test_gradients_become_their_mean(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_MOST_NUMBERS", most)
    held = [parameters(1, 2, None, 4, None, 6), parameters(3, None, 5, 4, None, -6)]
    acts = [lambda own, some=some: average_gradients(some, own) for some in held]
    collectives = together(*acts)
    for some in held:
        found = [None if p.grad is None else torch.unique(p.grad).tolist() for p in some]
        assert found == [[2], [1], [2.5], [4], None, [0]]
        assert all(p.grad is None or p.grad.shape == p.shape for p in some)
    if most > 2**20:  # who has any, then one message for each type
        assert collectives[0].messages == 3


def test_one_process_keeps_its_gradients_without_a_copy() -> None:
    own = parameters(1, None)
    gradient = own[0].grad
    average_gradients(own, OneProcess())
    assert own[0].grad is gradient
    assert own[1].grad is None


@pytest.mark.parametrize("most", [2**24, 3])
def test_all_begin_with_what_the_first_has(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_MOST_NUMBERS", most)

    def tensors(value: int) -> list[Tensor]:
        return [
            torch.full((2, 3), value / 4),
            torch.tensor(value),
            torch.tensor([True, value > 1]),
            torch.full((5,), float(value)),
        ]

    held = [tensors(1), tensors(2)]
    together(*[lambda own, some=some: equalise(some, own) for some in held])
    for some in held:
        torch.testing.assert_close(some, tensors(1), rtol=0, atol=0)


@pytest.mark.bad_input
def test_one_process_meets_its_error_as_it_is() -> None:
    error = DataError("of mine")
    with pytest.raises(DataError, match=r"^of mine$") as caught:
        share_bad_images(dict[str, LoadedBatch](), error, {"images": BadImages("some")})
    assert caught.value is error
