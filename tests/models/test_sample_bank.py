"""Samples and the prototypes among them."""

from collections.abc import Sequence
from threading import Barrier, Thread

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.distributed import OneProcess
from patchwise.errors import RangeError, ShapeError
from patchwise.models.object_filter import ObjectFilter
from patchwise.models.sample_bank import SampleBank, pool_samples

DIM = 2


def numbered(start: int, count: int) -> Tensor:
    """Samples that tell their number."""
    values = torch.arange(start, start + count, dtype=torch.float32)
    return values[:, None, None, None].expand(count, DIM, 3, 3).contiguous()


def numbers(bank: SampleBank) -> list[int]:
    return [int(value) for value in bank.samples()[:, 0, 0, 0]]


def add(bank: SampleBank, samples: Tensor, step: int = 0, seed: int = 0) -> bool:
    return bank.add(samples, seed=seed, step=step, collectives=OneProcess())


class Together:
    """Collectives of processes that are threads."""

    def __init__(self, count: int) -> None:
        self.parts: list[Tensor] = [torch.empty(0)] * count
        self.barrier = Barrier(count)

    def of(self, rank: int) -> "OfOne":
        return OfOne(self, rank)


class OfOne:
    def __init__(self, together: Together, rank: int) -> None:
        self.together, self.rank, self.size = together, rank, together.barrier.parties

    def gather(self, tensor: Tensor) -> Tensor:
        self.together.parts[self.rank] = tensor
        self.together.barrier.wait(timeout=10)
        joined = torch.cat(self.together.parts)
        self.together.barrier.wait(timeout=10)
        return joined

    def sum(self, tensor: Tensor) -> Tensor:
        raise AssertionError("not needed")

    def broadcast(self, tensor: Tensor) -> Tensor:
        return self.gather(tensor)[: len(tensor)]


def run_banks(banks: Sequence[SampleBank], shares: Sequence[Tensor], step: int) -> None:
    """Add to each bank its process's share, at the same time."""
    together = Together(len(banks))

    def act(rank: int) -> None:
        banks[rank].add(shares[rank], seed=0, step=step, collectives=together.of(rank))

    threads = [Thread(target=act, args=(rank,)) for rank in range(len(banks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("grid", [(6, 6), (6, 3), (14, 7), (2, 4), (1, 1)])
def test_samples_are_means_of_cells(grid: tuple[int, int]) -> None:
    rows, columns = grid
    patches = torch.randn(2, rows * columns, DIM, generator=torch.Generator().manual_seed(0))
    pooled = pool_samples(patches, grid)
    maps = patches.reshape(2, rows, columns, DIM)
    for i in range(3):
        for j in range(3):
            top, bottom = i * rows // 3, -(-(i + 1) * rows // 3)
            left, right = j * columns // 3, -(-(j + 1) * columns // 3)
            expected = maps[:, top:bottom, left:right].mean(dim=(1, 2))
            torch.testing.assert_close(pooled[:, :, i, j], expected)


def test_all_enter_until_it_is_full_and_then_a_few() -> None:
    bank = SampleBank(DIM, capacity=10, most_a_step=3)
    assert add(bank, numbered(0, 4)) is False
    assert numbers(bank) == [0, 1, 2, 3]
    assert not bank.full
    assert add(bank, numbered(4, 4)) is False
    assert add(bank, numbered(8, 4)) is True  # full now, and only now
    assert bank.full
    assert numbers(bank) == [*range(2, 12)]
    assert add(bank, numbered(12, 4), step=3) is False
    assert numbers(bank)[:7] == [*range(5, 12)]
    assert len(set(numbers(bank)[7:]) & {12, 13, 14, 15}) == 3
    assert add(bank, numbered(16, 2), step=4) is False  # fewer than it may take
    assert set(numbers(bank)[8:]) == {16, 17}


def test_a_step_may_fill_it_at_once() -> None:
    bank = SampleBank(DIM, capacity=10, most_a_step=3)
    assert add(bank, numbered(0, 25)) is True
    assert numbers(bank) == [*range(15, 25)]


def test_exactly_full_is_full() -> None:
    bank = SampleBank(DIM, capacity=10, most_a_step=3)
    assert add(bank, numbered(0, 10)) is True
    assert len(set(numbers(bank))) == 10


def test_which_enter_follows_from_seed_and_step() -> None:
    def drawn(seed: int, step: int) -> list[int]:
        bank = SampleBank(DIM, capacity=4, most_a_step=3)
        add(bank, numbered(0, 4))
        add(bank, numbered(100, 50), seed=seed, step=step)
        return numbers(bank)[1:]

    assert drawn(0, 1) == drawn(0, 1)
    assert len({tuple(drawn(seed, step)) for seed in range(3) for step in range(3)}) == 9
    seen = {number for step in range(60) for number in drawn(0, step)}
    assert len(seen) > 45  # all have their chance, not the first alone


def test_the_defaults_are_the_papers() -> None:
    bank = SampleBank(DIM)
    assert (bank.queue.capacity, bank.most_a_step) == (1024, 32)
    assert bank.samples().shape == (0, DIM, 3, 3)


def test_it_is_saved_with_the_model() -> None:
    """An interrupted run does not find its prototypes a second time."""
    bank, other = (SampleBank(DIM, capacity=4) for _ in range(2))
    add(bank, numbered(0, 9))
    other.load_state_dict(bank.state_dict())
    assert numbers(other) == numbers(bank)
    assert add(other, numbered(9, 4)) is False


def test_samples_lose_their_gradient() -> None:
    bank = SampleBank(DIM, capacity=4)
    add(bank, numbered(0, 4).requires_grad_())
    assert not bank.samples().requires_grad


def test_all_processes_have_the_bank_of_one() -> None:
    one = SampleBank(DIM, capacity=10, most_a_step=3)
    banks = [SampleBank(DIM, capacity=10, most_a_step=3) for _ in range(2)]
    for step in range(5):
        samples = numbered(8 * step, 8)
        add(one, samples, step=step)
        run_banks(banks, list(samples.split(4)), step)  # type: ignore[no-untyped-call]
        assert numbers(banks[0]) == numbers(banks[1]) == numbers(one)


def planted(groups: int, each: int) -> tuple[Tensor, Tensor]:
    """Samples of any length in well separated directions, and the group of each."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.eye(DIM * 9)[:groups].repeat_interleave(each, dim=0)
    noise = 0.05 * torch.randn(directions.shape, generator=generator)
    lengths = 1 + 20 * torch.rand(len(directions), 1, generator=generator)
    truth = torch.arange(groups).repeat_interleave(each)
    return (lengths * (directions + noise)).reshape(-1, DIM, 3, 3), truth


def test_prototypes_are_unit_centres_of_clusters_by_cosine() -> None:
    samples, truth = planted(4, 12)
    bank = SampleBank(DIM, capacity=len(samples))
    add(bank, samples)
    best = []
    for seed in range(4):  # a start may put two centres into one group
        prototypes = bank.find_prototypes(4, seed=seed, collectives=OneProcess())
        assert prototypes.shape == (4, DIM, 3, 3)
        flat = prototypes.flatten(1)
        torch.testing.assert_close(flat.norm(dim=1), torch.ones(4))
        nearest = (F.normalize(samples.flatten(1), dim=1) @ flat.T).argmax(dim=1)
        best.append(len(set(zip(truth.tolist(), nearest.tolist(), strict=True))))
        for k in range(4):
            mean = F.normalize(samples.flatten(1), dim=1)[nearest == k].mean(dim=0)
            torch.testing.assert_close(flat[k], F.normalize(mean, dim=0))
    assert min(best) == 4
    ObjectFilter(DIM, 4).set_prototypes(prototypes)


def test_the_prototypes_of_the_first_process_count() -> None:
    class Second:
        rank, size = 1, 2

        def broadcast(self, tensor: Tensor) -> Tensor:
            return torch.full_like(tensor, 7.0)

        gather = sum = broadcast

    bank = SampleBank(DIM, capacity=8)
    add(bank, torch.randn(8, DIM, 3, 3, generator=torch.Generator().manual_seed(0)))
    found = bank.find_prototypes(3, seed=0, collectives=Second())
    assert torch.equal(found, torch.full((3, DIM, 3, 3), 7.0))


def test_the_seed_matters() -> None:
    bank = SampleBank(DIM, capacity=60)
    add(bank, torch.randn(60, DIM, 3, 3, generator=torch.Generator().manual_seed(0)))
    found = [bank.find_prototypes(5, seed=s, collectives=OneProcess()) for s in (0, 0, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert any(not torch.equal(found[0], other) for other in found[2:])


def test_clusters_are_found_to_the_end() -> None:
    """No sample would move any more, which on these takes more than one round."""
    bank = SampleBank(DIM, capacity=500)
    add(bank, torch.randn(500, DIM, 3, 3, generator=torch.Generator().manual_seed(0)))
    flat = bank.find_prototypes(5, seed=0, collectives=OneProcess()).flatten(1)
    unit = F.normalize(bank.samples().flatten(1), dim=1)
    nearest = (unit @ flat.T).argmax(dim=1)
    means = torch.stack([unit[nearest == k].mean(dim=0) for k in range(5)])
    torch.testing.assert_close(flat, F.normalize(means, dim=1))


@pytest.mark.bad_input
def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(RangeError, match="SampleBank: most_a_step must be positive, got 0"):
        SampleBank(DIM, most_a_step=0)
    with pytest.raises(ShapeError, match=r"patches must have shape \(any, 12, any\), got \(1, 9, "):
        pool_samples(torch.zeros(1, 9, 2), (3, 4))
    bank = SampleBank(DIM, capacity=4)
    with pytest.raises(ShapeError, match=r"FIFO.push: items must have shape"):
        add(bank, torch.zeros(2, 3, 3, 3))
    with pytest.raises(RangeError, match="0 points for 2 clusters"):
        bank.find_prototypes(2, seed=0, collectives=OneProcess())
