"""Search of stored vectors: all of them, and in cells."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.errors import RangeError
from patchwise.features import search as module
from patchwise.features import vectors
from patchwise.features.search import Cells, nearest_exact, recall
from patchwise.features.vectors import Vectors
from tests.ops.test_nearest import plain

CPU = torch.device("cpu")


def clustered(count: int, seed: int, clusters: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, 16, generator=torch.Generator().manual_seed(99))
    own = torch.randint(clusters, (count,), generator=generator)
    return F.normalize(centres[own] + 0.4 * torch.randn(count, 16, generator=generator), dim=1)


@dataclass(frozen=True)
class Stored:
    queries: Tensor
    values: Tensor  # as they are stored
    keys: Vectors

    def build(self, cells: int, *, memory_bytes: int = 10**9, seed: int = 0) -> Cells:
        return Cells.build(self.keys, cells, seed=seed, device=CPU, memory_bytes=memory_bytes)


@pytest.fixture(params=[0, 10**9])
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    monkeypatch.setattr(vectors, "_READ", 16 * 300)  # several blocks
    values = clustered(2000, 0)
    keys = Vectors(2000, 16, memory_bytes=request.param)
    keys.write(0, values)
    with keys:
        yield Stored(clustered(70, 1), values.half().float(), keys)


def test_exact_search_finds_what_a_plain_sort_finds(stored: Stored) -> None:
    found = nearest_exact(stored.queries, stored.keys, 9)
    values, index = plain(stored.queries, stored.values, 9)
    assert torch.equal(found.index, index)
    assert torch.equal(found.values, values)


def test_with_all_cells_nothing_is_missed(stored: Stored) -> None:
    with stored.build(10) as cells:
        found = cells.nearest(stored.queries, 9, probes=10)
    values, index = plain(stored.queries, stored.values, 9)
    assert torch.equal(found.values, values)
    assert recall(found.index, index) == 1.0


def test_with_some_cells_what_they_hold_is_found(stored: Stored) -> None:
    with stored.build(10) as cells:
        found = cells.nearest(stored.queries, 9, probes=3)
        cell = torch.empty(2000, dtype=torch.int64)
        for number, (first, stop) in enumerate(zip(cells.starts, cells.starts[1:], strict=False)):
            cell[cells.order[first:stop].long()] = number
        for row, query in enumerate(stored.queries):
            probed = (query @ cells.centres.T).topk(3).indices
            there = torch.isin(cell, probed).nonzero()[:, 0]
            expected = there[plain(query[None], stored.values[there], 9)[1][0]]
            assert set(found.index[row].tolist()) == set(expected.tolist())
    exact = nearest_exact(stored.queries, stored.keys, 9).index
    assert 0.8 < recall(found.index, exact) <= 1.0


def test_each_vector_lies_in_the_cell_of_the_best_centre(stored: Stored) -> None:
    with stored.build(10) as cells:
        assert cells.order.sort().values.tolist() == list(range(2000))
        sorted_values = stored.values[cells.order.long()]
        assert torch.equal(cells.keys.read(0, 2000), sorted_values)
        scores = sorted_values @ cells.centres.T
        own = torch.repeat_interleave(torch.arange(10), torch.tensor(cells.starts).diff())
        best = scores.max(dim=1).values
        torch.testing.assert_close(scores[torch.arange(2000), own], best, atol=0.01, rtol=0)
        torch.testing.assert_close(cells.centres.norm(dim=1), torch.ones(10))
        nearest = (cells.centres @ stored.values.T).max(dim=1).values
        assert nearest.median() < 0.999  # means of many vectors, none of them


def test_neither_memory_nor_the_number_of_queries_matters(stored: Stored) -> None:
    with stored.build(10) as cells, stored.build(10, memory_bytes=0) as other:
        assert other.keys.on_disk
        assert not cells.keys.on_disk
        whole = cells.nearest(stored.queries, 5, probes=3).index
        parts = [other.nearest(part, 5, probes=3).index for part in torch.split(stored.queries, 11)]
    assert torch.equal(whole, torch.cat(parts))


def test_other_seeds_make_other_cells(stored: Stored) -> None:
    with stored.build(10) as first, stored.build(10, seed=1) as second:
        assert not torch.equal(first.order, second.order)


def test_few_vectors_have_few_cells(stored: Stored) -> None:
    with stored.build(10**6) as cells:
        assert len(cells.centres) == 2000 // module._TRAINED_ON
        found = cells.nearest(stored.queries, 5, probes=10**6)
    assert torch.equal(found.index, nearest_exact(stored.queries, stored.keys, 5).index)


def test_recall_is_the_share_that_was_found() -> None:
    exact = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert recall(exact, exact) == 1.0
    assert recall(torch.tensor([[3, 1, 9], [7, 8, -1]]), exact) == pytest.approx(2 / 6)


def test_what_is_held_does_not_grow_with_the_memory() -> None:
    """64 MiB more of vectors on the disk: the peak stays."""
    command = [sys.executable, "-m", "tests.features.searching_process"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    first, second = map(float, done.stdout.split())
    assert second - first < 24


@pytest.mark.bad_input
def test_numbers_must_be_positive(stored: Stored) -> None:
    with pytest.raises(RangeError, match="cells must be positive, got 0"):
        stored.build(0)
    with stored.build(3) as cells, pytest.raises(RangeError, match="probes must be positive"):
        cells.nearest(stored.queries, 5, probes=0)


@pytest.mark.parametrize("probes", [3, 10])
def test_a_limit_holds_in_both_searches(stored: Stored, probes: int) -> None:
    exact = nearest_exact(stored.queries, stored.keys, 5, below=0.9)
    products = stored.queries @ stored.values.T
    assert float(exact.values.max()) < 0.9 < float(products.max())
    left = torch.where(products < 0.9, products, -torch.inf)
    assert torch.equal(exact.index, left.sort(dim=1, descending=True, stable=True).indices[:, :5])
    with stored.build(10) as cells:
        found = cells.nearest(stored.queries, 5, probes=probes, below=0.9)
    assert float(found.values.max()) < 0.9
    assert recall(found.index, exact.index) > (0.999 if probes == 10 else 0.5)
