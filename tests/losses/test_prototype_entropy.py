"""What the entropy of prototypes must be, whatever its inputs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.losses.prototype_entropy import prototype_entropy_loss
from patchwise.models.fifo import FIFO

VECTORS = np.load(Path(__file__).parents[1] / "fixtures" / "cotap.npz")


def random_case(seed: int, *, k: int = 4, samples: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 3, 2)
    return (
        torch.randn(k, *shape, generator=generator, dtype=torch.float64) * 3,
        torch.randn(samples, *shape, generator=generator, dtype=torch.float64),
    )


def slow_reference(prototypes: Tensor, samples: Tensor, temperature: float) -> float:
    """The formula once more, one prototype and one sample at a time."""
    total = 0.0
    for prototype in prototypes:
        cosines = [
            float((prototype * sample).sum() / prototype.norm() / sample.norm())
            for sample in samples
        ]
        shares = [math.exp(cosine / temperature) for cosine in cosines]
        shares = [share / sum(shares) for share in shares]
        total -= sum(share * math.log(share) for share in shares)
    return total / len(prototypes)


def test_it_equals_the_published_systems_value() -> None:
    prototypes = torch.from_numpy(VECTORS["entropy_prototypes"]).double()
    samples = torch.from_numpy(VECTORS["entropy_samples"]).double()
    loss = prototype_entropy_loss(prototypes, samples)
    assert float(loss) == pytest.approx(float(VECTORS["entropy_loss"]), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_formula_in_plain_loops(seed: int) -> None:
    prototypes, samples = random_case(seed)
    loss = prototype_entropy_loss(prototypes, samples, temperature=0.3)
    assert float(loss) == pytest.approx(slow_reference(prototypes, samples, 0.3), rel=1e-12)


@pytest.mark.parametrize("count", [2, 100])
def test_samples_all_alike_cost_log_of_their_number(count: int) -> None:
    prototypes, samples = random_case(0)
    loss = prototype_entropy_loss(prototypes, samples[:1].expand(count, -1, -1, -1))
    assert float(loss) == pytest.approx(math.log(count))


def test_lengths_do_not_matter() -> None:
    prototypes, samples = random_case(1)
    torch.testing.assert_close(
        prototype_entropy_loss(prototypes * 5, samples / 7),
        prototype_entropy_loss(prototypes, samples),
    )


def test_a_prototype_that_is_a_sample_costs_less() -> None:
    prototypes, samples = random_case(2)
    assert prototype_entropy_loss(samples[:4], samples) < prototype_entropy_loss(
        prototypes, samples
    )
    sure = prototype_entropy_loss(samples[:4], samples, temperature=1e-3)
    assert float(sure) < 1e-9


def test_an_empty_bank_and_one_sample_cost_nothing() -> None:
    prototypes, samples = random_case(3)
    bank = FIFO(8, tuple(samples.shape[1:]))
    for given in (bank.items(), samples[:1]):
        leaf = prototypes.clone().requires_grad_()
        loss = prototype_entropy_loss(leaf, given)  # a bank holds float32
        loss.backward()  # type: ignore[no-untyped-call]
        assert float(loss.detach()) == 0
        assert leaf.grad is not None
        assert leaf.grad.abs().max() < 1e-15


def test_nothing_is_broken_by_what_is_zero() -> None:
    prototypes = torch.zeros(2, 3, 1, 1, requires_grad=True)
    loss = prototype_entropy_loss(prototypes, torch.zeros(4, 3, 1, 1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(math.log(4))
    assert prototypes.grad is not None
    assert prototypes.grad.isfinite().all()


def test_half_precision_is_worked_on_in_float32() -> None:
    prototypes, samples = (given.bfloat16() for given in random_case(0))
    wanted = prototype_entropy_loss(prototypes.float(), samples.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prototype_entropy_loss(prototypes, samples), wanted)
        assert torch.equal(prototype_entropy_loss(prototypes.float(), samples.float()), wanted)


@pytest.mark.bad_input
def test_what_cannot_be_compared_is_refused() -> None:
    prototypes, samples = random_case(0)
    with pytest.raises(ShapeError, match=r"samples must have shape \(any, 5, 3, 2\), got \(6, 4"):
        prototype_entropy_loss(prototypes, samples[:, :4])
    with pytest.raises(ShapeError, match=r"prototypes must have shape \(any, any, any, any\)"):
        prototype_entropy_loss(prototypes.flatten(1), samples)
    with pytest.raises(RangeError, match="temperature must be positive, got 0"):
        prototype_entropy_loss(prototypes, samples, temperature=0.0)
