"""Softmax over prototypes, block by block, against the whole matrix."""

import math

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.ops import prototypes as module
from patchwise.ops.prototypes import expected_prototypes, log_partition

R, C, K, P = 7, 5, 300, 4


@pytest.fixture(autouse=True, params=[1, 2**30], ids=["many blocks", "one block"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of at most 128 prototypes, and one of all."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", {"cpu": request.param})


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(prototypes: Tensor) -> Tensor:
    return prototypes / prototypes.square().sum(dim=1, keepdim=True).sqrt()


def whole_expectation(
    vectors: Tensor, prototypes: Tensor, averaged: Tensor, centre: Tensor, position: Tensor
) -> Tensor:
    scores = vectors @ unit(prototypes).T - centre[position]
    return (scores / 0.3).softmax(dim=1) @ unit(averaged)


def teaching() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    position = torch.arange(R) % P
    return drawn(R, C), drawn(K, C, seed=1), drawn(K, C, seed=2), drawn(P, K, seed=3), position


def expected(*inputs: Tensor) -> Tensor:
    vectors, prototypes, averaged, centre, position = inputs
    return expected_prototypes(
        vectors, prototypes, averaged, temperature=0.3, centre=centre, position=position
    )


def test_the_partition_is_that_of_all_scores() -> None:
    vectors, prototypes = drawn(R, C), drawn(K, C, seed=1)
    found = log_partition(vectors, prototypes, temperature=0.2)
    torch.testing.assert_close(found, (vectors @ unit(prototypes).T / 0.2).logsumexp(dim=1))


def test_the_partitions_gradients_are_those_of_its_value() -> None:
    vectors, prototypes = drawn(3, C).requires_grad_(), drawn(260, C, seed=1).requires_grad_()
    weight = torch.tensor([0.5, 0.0, -2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda v, w: log_partition(v, w, temperature=0.7) @ weight, (vectors, prototypes)
    )


def test_the_expectation_is_that_of_all_scores() -> None:
    torch.testing.assert_close(expected(*teaching()), whole_expectation(*teaching()))


def test_only_what_is_averaged_gets_a_gradient() -> None:
    inputs = [x.requires_grad_() if x.is_floating_point() else x for x in teaching()]
    upstream = drawn(R, C, seed=5)
    expected(*inputs).backward(upstream)  # type: ignore[no-untyped-call]
    assert inputs[0].grad is None
    assert inputs[1].grad is None
    assert inputs[3].grad is None
    again = teaching()
    averaged = again[2].requires_grad_()
    whole_expectation(*again).backward(upstream)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(inputs[2].grad, averaged.grad)


def test_huge_scores_neither_overflow_nor_vanish() -> None:
    vectors, prototypes = 1e4 * drawn(R, C), drawn(K, C, seed=1)
    found = log_partition(vectors, prototypes, temperature=0.01)
    torch.testing.assert_close(found, (vectors @ unit(prototypes).T / 0.01).amax(dim=1))
    _, _, averaged, centre, position = teaching()
    choice = expected(vectors, prototypes, averaged, centre, position)
    best = (vectors @ unit(prototypes).T - centre[position]).argmax(dim=1)
    torch.testing.assert_close(choice, unit(averaged)[best])


def test_prototypes_of_no_length_count_alike() -> None:
    found = log_partition(drawn(R, C), torch.zeros(K, C, dtype=torch.float64), temperature=0.1)
    torch.testing.assert_close(found, torch.full_like(found, math.log(K)))


def test_no_rows_give_nothing_and_no_gradient() -> None:
    none, prototypes = torch.zeros(0, C), drawn(K, C, dtype=torch.float32).requires_grad_()
    found = log_partition(none, prototypes, temperature=0.1)
    assert found.shape == (0,)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert prototypes.grad is not None
    assert not prototypes.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_worked_on_in_full(dtype: torch.dtype) -> None:
    vectors, prototypes = drawn(R, C).to(dtype), drawn(K, C, seed=1).to(dtype)
    found = log_partition(vectors, prototypes, temperature=0.1)
    assert found.dtype == torch.float32
    exact = (vectors.double() @ unit(prototypes.float()).double().T / 0.1).logsumexp(dim=1)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-4)


def test_under_autocast_scores_are_close_and_still_in_full() -> None:
    """Rounded to bfloat16, the scores themselves would be wrong by up to 0.4 here."""
    vectors = torch.nn.functional.normalize(drawn(R, 64, dtype=torch.float32), dim=1)
    prototypes = torch.nn.functional.normalize(drawn(K, 64, seed=1, dtype=torch.float32), dim=1)
    exact = (vectors.double() @ prototypes.double().T / 0.01).logsumexp(dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = log_partition(vectors, prototypes, temperature=0.01)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.1)


def test_the_format_of_other_products_stays() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    with torch.autocast("cpu", torch.bfloat16):
        log_partition(drawn(R, C).float(), drawn(K, C).float(), temperature=0.1)
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # type: ignore[attr-defined]


@pytest.mark.bad_input
def test_a_temperature_of_zero_is_named() -> None:
    with pytest.raises(RangeError, match="temperature must be positive, got 0"):
        log_partition(drawn(R, C), drawn(K, C), temperature=0.0)
    with pytest.raises(RangeError, match="temperature must be positive, got 0"):
        expected_prototypes(
            *teaching()[:3], temperature=0.0, centre=teaching()[3], position=teaching()[4]
        )


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", range(1, 5))
def test_parts_that_do_not_fit_are_named(wrong: int) -> None:
    inputs = list(teaching())
    inputs[wrong] = inputs[wrong][..., :-1]
    with pytest.raises(ShapeError, match="expected_prototypes: "):
        expected(*inputs)
