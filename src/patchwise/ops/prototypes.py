"""Softmax over K prototypes, K being large: nothing of the size tokens x K is ever held.

Prototypes are taken block by block. A running maximum and sum give the softmax's denominator; the
backward computes the blocks once more. As attention is computed without its matrix: Milakov and
Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135.

Only the directions of prototypes count: w_k is the k-th, divided by its length. That too is done
block by block, so that no second copy of them is held.

Letters: R rows (tokens), C channels, K prototypes, P positions.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from patchwise.checks import check_positive, check_shape
from patchwise.ops.products import add_product, is_half, set_product

_BLOCK_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}  # a cache's worth; enough to fill a GPU
_LEAST_LENGTH = 1e-12  # of a prototype that is divided by its length
_LEAST_BLOCK = 128  # prototypes: narrower products are slow


def log_partition(
    vectors: Float[Tensor, "R C"], prototypes: Float[Tensor, "K C"], *, temperature: float
) -> Float[Tensor, " R"]:
    """Return the logarithm of the softmax's denominator: log sum_k exp(v . w_k / temperature).

    Args:
        vectors: One row a token. Under autocast to bfloat16 the products with the prototypes are
            made in it, and summed and returned in float32.
        prototypes: Of any length. Both get gradients.
        temperature: Divisor of the scores; > 0.

    >>> scores = torch.tensor([[1.0, 2.0, 3.0]])
    >>> log_partition(scores, torch.eye(3), temperature=1.0).allclose(scores.logsumexp(dim=1))
    True
    """
    check_positive("log_partition", temperature=temperature)
    check_shape("log_partition", (None, None), vectors=vectors)
    check_shape("log_partition", (None, vectors.shape[1]), prototypes=prototypes)
    half = is_half(vectors.device)
    vectors, prototypes = _full(vectors), _full(prototypes)
    result: Tensor = _LogPartition.apply(vectors / temperature, prototypes, half)  # type: ignore[no-untyped-call]
    return result


def expected_prototypes(
    vectors: Float[Tensor, "R C"],
    prototypes: Float[Tensor, "K C"],
    averaged: Float[Tensor, "K C"],
    *,
    temperature: float,
    centre: Float[Tensor, "P K"],
    position: Int[Tensor, " R"],
) -> Float[Tensor, "R C"]:
    """Return sum_k q_k a_k of every row, with q = softmax((v . w_k - centre_k) / temperature).

    A cross-entropy between q and a student with scores s . a_k needs nothing more of q, for
    sum_k q_k (s . a_k) = s . (sum_k q_k a_k).

    Args:
        vectors: The teacher's tokens, one row each. No gradient.
        prototypes: The teacher's, of any length. No gradient.
        averaged: The student's, whose directions are a_k. They get the gradient.
        temperature: Divisor of the centred scores; > 0.
        centre: What is subtracted from the scores, by position. No gradient.
        position: The row of ``centre`` of each of ``vectors``.

    Under autocast to bfloat16 the products are made in it, and summed and returned in float32.

    >>> sure = expected_prototypes(
    ...     torch.eye(2), torch.eye(2), torch.tensor([[3.0, 4.0], [0.0, 2.0]]), temperature=0.01,
    ...     centre=torch.zeros(1, 2), position=torch.zeros(2, dtype=torch.int64),
    ... )
    >>> sure.allclose(torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    True
    """
    name = "expected_prototypes"
    check_positive(name, temperature=temperature)
    check_shape(name, (None, None), vectors=vectors)
    check_shape(name, (None, vectors.shape[1]), prototypes=prototypes)
    check_shape(name, tuple(prototypes.shape), averaged=averaged)
    check_shape(name, (None, len(prototypes)), centre=centre)
    check_shape(name, (len(vectors),), position=position)
    half = is_half(vectors.device)
    result: Tensor = _ExpectedPrototypes.apply(  # type: ignore[no-untyped-call]
        _full(vectors.detach()) / temperature,
        _full(prototypes.detach()),
        _full(averaged),
        _Centre(centre.detach(), position, 1 / temperature),
        half,
    )
    return result


class _Centre(NamedTuple):
    """What is subtracted from the scores of rows at some positions."""

    values: Tensor  # [P, K]
    position: Tensor  # [R]
    scale: float

    def subtract_from(self, scores: Tensor, block: slice, spare: Tensor) -> None:
        """Subtract from the scores of all rows for a block of prototypes, in place."""
        rows = _view(spare, *scores.shape)
        torch.index_select(self.values[:, block], 0, self.position, out=rows)
        scores.sub_(rows, alpha=self.scale)


class _LogPartition(torch.autograd.Function):
    """Of scores that the temperature has divided already."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, prototypes: Tensor, half: bool) -> Tensor:  # noqa: ANN401
        top = vectors.new_full((len(vectors),), -math.inf)
        total = torch.zeros_like(top)
        for _, _, scores in _score_blocks(vectors, prototypes, half):
            higher = torch.maximum(top, scores.amax(dim=1))
            scores.sub_(higher[:, None]).exp_()
            total.mul_((top - higher).exp_()).add_(scores.sum(dim=1))
            top = higher
        result = top + total.log_()
        ctx.save_for_backward(vectors, prototypes, result)
        ctx.half = half
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        vectors, prototypes, log_total = ctx.saved_tensors
        to_vectors = torch.zeros_like(vectors)
        to_prototypes = torch.empty_like(prototypes)
        weighted = gradient[:, None] * vectors
        for block, unit, scores in _score_blocks(vectors, prototypes, ctx.half):
            share = scores.sub_(log_total[:, None]).exp_()
            add_product(to_vectors, share, unit.rows, half=ctx.half)
            set_product(to_prototypes[block], share.mT, weighted, half=ctx.half)
            unit.pull_back(to_prototypes[block])
        return to_vectors.mul_(gradient[:, None]), to_prototypes, None


class _ExpectedPrototypes(torch.autograd.Function):
    """Of scores that the temperature has divided already."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        vectors: Tensor,
        prototypes: Tensor,
        averaged: Tensor,
        centre: _Centre,
        half: bool,
    ) -> Tensor:
        top = vectors.new_full((len(vectors),), -math.inf)
        total = torch.zeros_like(top)
        result = vectors.new_zeros(len(vectors), averaged.shape[1])
        spare = _block_buffer(vectors, len(prototypes))
        room = _unit_buffer(vectors, averaged)
        for block, _, scores in _score_blocks(vectors, prototypes, half):
            centre.subtract_from(scores, block, spare)
            higher = torch.maximum(top, scores.amax(dim=1))
            share = scores.sub_(higher[:, None]).exp_()
            shrink = (top - higher).exp_()
            total.mul_(shrink).add_(share.sum(dim=1))
            unit = _make_unit(averaged[block], room)
            add_product(result.mul_(shrink[:, None]), share, unit.rows, half=half)
            top = higher
        log_total = top + total.log()
        ctx.save_for_backward(vectors, prototypes, averaged, log_total)
        ctx.half, ctx.centre = half, centre
        return result.div_(total[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, None, None]:  # noqa: ANN401
        vectors, prototypes, averaged, log_total = ctx.saved_tensors
        to_averaged = torch.empty_like(averaged)
        spare = _block_buffer(vectors, len(prototypes))
        room = _unit_buffer(vectors, averaged)
        for block, _, scores in _score_blocks(vectors, prototypes, ctx.half):
            ctx.centre.subtract_from(scores, block, spare)
            share = scores.sub_(log_total[:, None]).exp_()
            set_product(to_averaged[block], share.mT, gradient, half=ctx.half)
            _make_unit(averaged[block], room).pull_back(to_averaged[block])
        return None, None, to_averaged, None, None


class _Unit(NamedTuple):
    """Some prototypes, divided by their lengths."""

    rows: Tensor
    length: Tensor  # [block, 1]

    def pull_back(self, gradient: Tensor) -> None:
        """Turn the gradient of the rows into that of the prototypes, in place."""
        along = torch.linalg.vecdot(gradient, self.rows)[:, None]
        gradient.addcmul_(self.rows, along, value=-1).div_(self.length)


def _make_unit(prototypes: Tensor, room: Tensor) -> _Unit:
    length = torch.linalg.vector_norm(prototypes, dim=1, keepdim=True).clamp_(min=_LEAST_LENGTH)
    rows = torch.div(prototypes, length, out=_view(room, *prototypes.shape))
    return _Unit(rows, length)


def _score_blocks(
    vectors: Tensor, prototypes: Tensor, half: bool
) -> Iterator[tuple[slice, _Unit, Tensor]]:
    """Yield the place of a block, its prototypes as unit vectors, all rows' scores [R, block].

    They lie in buffers that are written over again and again.
    """
    count, size = len(prototypes), _block_size(vectors)
    buffer, room = _block_buffer(vectors, count), _unit_buffer(vectors, prototypes)
    for start in range(0, count, size):
        block = slice(start, min(start + size, count))
        scores = _view(buffer, len(vectors), block.stop - block.start)
        unit = _make_unit(prototypes[block], room)
        set_product(scores, vectors, unit.rows.mT, half=half)
        yield block, unit, scores


def _block_buffer(vectors: Tensor, count: int) -> Tensor:
    """Return room for the scores of a block of ``count`` prototypes."""
    return vectors.new_empty(len(vectors) * min(_block_size(vectors), count))


def _unit_buffer(vectors: Tensor, prototypes: Tensor) -> Tensor:
    """Return room for a block of prototypes."""
    count, channels = prototypes.shape
    return prototypes.new_empty(min(_block_size(vectors), count) * channels)


def _view(buffer: Tensor, rows: int, columns: int) -> Tensor:
    return buffer[: rows * columns].view(rows, columns)


def _block_size(vectors: Tensor) -> int:
    """Return how many prototypes to take at a time: a block and its scores fit each."""
    columns = max(vectors.shape)
    wanted = _BLOCK_BYTES[vectors.device.type] // (max(1, columns) * vectors.element_size())
    return max(_LEAST_BLOCK, wanted // _LEAST_BLOCK * _LEAST_BLOCK)


def _full(values: Tensor) -> Tensor:
    """Return half-precision values in float32; leave the others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
