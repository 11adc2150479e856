"""What makes several processes train one model: equal starts, averaged gradients, one count.

Tensors are joined into few large ones: a message has a cost of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from patchwise.data.bad_images import BadImage, BadImages
from patchwise.data.loader import LoadedBatch
from patchwise.distributed import Collectives
from patchwise.training.processes import describe, here

_MOST_NUMBERS = 2**24  # in a message; so much memory is needed besides


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], collectives: Collectives) -> None:
    """Put the mean of all processes' gradients in place of each process's own.

    Where a process has no gradient it counts as zero, and where none has one there is none. On
    one process nothing is done.
    """
    if collectives.size == 1:
        return
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=_device(parameters))
    anywhere = collectives.sum(has).tolist()
    wanted = [p for p, count in zip(parameters, anywhere, strict=True) if count]
    for parameter in wanted:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in wanted if p.grad is not None]
    for some in _messages(gradients):
        total = collectives.sum(torch.cat([gradient.flatten() for gradient in some]))
        _scatter(total / collectives.size, some)


@torch.no_grad()
def equalise(tensors: Sequence[Tensor], collectives: Collectives) -> None:
    """Put the first process's values in place of each process's own; on one nothing is done."""
    if collectives.size == 1:
        return
    for some in _messages(tensors):
        joined = torch.cat([tensor.flatten() for tensor in some])
        if joined.dtype == torch.bool:
            _scatter(collectives.broadcast(joined.to(torch.uint8)).to(torch.bool), some)
        else:
            _scatter(collectives.broadcast(joined), some)


def share_bad_images(
    loaded: Mapping[str, LoadedBatch], error: Exception | None, counts: Mapping[str, BadImages]
) -> list[BadImage]:
    """Count the bad images that other processes met; return all that are new, by input.

    Raises:
        DataError: There are more of them than are tolerated, or a process cannot go on.
    """
    processes = here()
    if processes.size == 1:
        processes.require(error)
        return [bad for batch in loaded.values() for bad in batch.bad]
    own = {name: [asdict(bad) for bad in batch.bad] for name, batch in loaded.items()}
    told = processes.exchange([describe(error), own])
    processes.raise_any(error, [other for other, _ in told])
    new: list[BadImage] = []
    for name, count in counts.items():
        found = [BadImage(**bad) for _, others in told for bad in others.get(name, ())]
        new += {bad.index: bad for bad in found}.values()
        count.add(found)
    return new


def _messages(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors of one type and device, together of a moderate size, in a fixed order."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        some = kinds.setdefault((tensor.dtype, tensor.device), [])
        if some and sum(t.numel() for t in some) + tensor.numel() > _MOST_NUMBERS:
            yield some.copy()
            some.clear()
        some.append(tensor)
    yield from kinds.values()


def _scatter(joined: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split_with_sizes(joined, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _device(parameters: Sequence[nn.Parameter]) -> torch.device:
    return parameters[0].device if parameters else torch.device("cpu")
