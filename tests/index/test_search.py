"""The nearest others against a plain sort of all cosines."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.configs.neighbours import NeighboursConfig
from patchwise.features.vectors import Vectors
from patchwise.index import search as module
from patchwise.index.search import Others, nearest_others
from tests.features.test_search import clustered

CPU = torch.device("cpu")
CONFIG = NeighboursConfig(k=5)


@contextmanager
def stored(values: Tensor) -> Iterator[Vectors]:
    with Vectors(*values.shape, memory_bytes=10**9, dtype=torch.float32) as keys:
        keys.write(0, values)
        yield keys


def found(
    values: Tensor, config: NeighboursConfig = CONFIG, heard: list[str] | None = None
) -> Others:
    said: list[str] = [] if heard is None else heard
    with stored(values) as keys:
        return nearest_others(keys, config, device=CPU, memory_bytes=10**9, say=said.append)


def plain(values: Tensor, k: int, limit: float = 2.0) -> tuple[list[list[int]], list[list[float]]]:
    """Row by row: the others, those below the limit first, each part by cosine and number."""
    cosines = (values.double() @ values.double().T).float().tolist()
    ids = []
    for own, row in enumerate(cosines):
        others = [other for other in range(len(row)) if other != own]
        ids.append(sorted(others, key=lambda other: (row[other] >= limit, -row[other], other))[:k])
    return ids, [[row[other] for other in chosen] for row, chosen in zip(cosines, ids, strict=True)]


@pytest.fixture(params=[module._QUERIES, 64])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUERIES", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("k", [1, 7, 149])
def test_exact_search_finds_what_a_plain_sort_finds(k: int) -> None:
    values = clustered(150, 0)
    others = found(values, NeighboursConfig(k=k))
    ids, cosines = plain(values, k)
    assert others.index.tolist() == ids
    assert torch.equal(others.cosines, torch.tensor(cosines))
    assert (others.lacking, others.recall) == (0, None)


@pytest.mark.usefixtures("chunk")
def test_no_vector_is_its_own_neighbour_among_exact_copies() -> None:
    """More copies than neighbours: most do not even find themselves."""
    values = clustered(150, 0)
    values[20:60] = values[7]
    others = found(values)
    assert others.index.tolist() == plain(values, 5)[0]
    assert not (others.index == torch.arange(150)[:, None]).any()
    assert others.index[50].tolist() == [7, 20, 21, 22, 23]  # of equals the lower number


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("exact", [True, False])
def test_near_duplicates_do_not_count(exact: bool) -> None:
    values = clustered(160, 0)
    values[20:60] = F.normalize(values[7] + 1e-3 * clustered(40, 5), dim=1)
    config = dataclasses.replace(CONFIG, duplicate_cosine=0.95)
    if not exact:
        config = dataclasses.replace(config, exact_images=10, cells=4, probes=4)
    others = found(values, config)
    assert float(others.cosines.max()) < 0.95
    ids, cosines = plain(values, 5, 0.95)
    assert others.index.tolist() == ids
    assert torch.equal(others.cosines, torch.tensor(cosines))
    assert others.lacking == 0


@pytest.mark.usefixtures("chunk")
def test_where_there_are_only_near_duplicates_they_make_up_for_it() -> None:
    values = F.normalize(torch.ones(90, 4) + 1e-3 * clustered(90, 1)[:, :4], dim=1)
    values[:3] = F.normalize(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), dim=1)
    others = found(values, dataclasses.replace(CONFIG, duplicate_cosine=0.9))
    ids, cosines = plain(values, 5, 0.9)
    assert others.index.tolist() == ids
    assert torch.equal(others.cosines, torch.tensor(cosines))
    assert others.lacking == 87
    assert sorted(others.index[50, :3].tolist()) == [0, 1, 2]


@pytest.mark.usefixtures("chunk")
def test_with_all_cells_an_inexact_search_misses_nothing() -> None:
    values = clustered(300, 0)
    heard: list[str] = []
    config = dataclasses.replace(CONFIG, exact_images=299, cells=5, probes=5)
    others = found(values, config, heard)
    ids, cosines = plain(values, 5)
    assert others.recall == 1.0
    assert torch.equal(others.cosines, torch.tensor(cosines))
    assert heard[0] == "sorting 300 images into at most 5 groups of like ones"
    assert heard[-1].startswith("compared 300 images in ")
    assert others.index.tolist() == ids


def test_recall_is_what_some_cells_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    values = F.normalize(torch.randn(1000, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    config = dataclasses.replace(CONFIG, exact_images=999, cells=25, probes=2)
    others = found(values, config)
    exact = plain(values, 5)[0]
    hits = [set(a) & set(b) for a, b in zip(others.index.tolist(), exact, strict=True)]
    share = sum(map(len, hits)) / 5000
    assert others.recall == pytest.approx(share)
    assert 0.2 < share < 0.9
    assert not (others.index == torch.arange(1000)[:, None]).any()
    monkeypatch.setattr(module, "_SAMPLED", 200)
    some = found(values, config).recall
    assert some is not None
    assert some != share
    assert some == pytest.approx(share, abs=0.08)


def test_up_to_a_number_the_search_is_exact() -> None:
    config = NeighboursConfig(k=5, exact_images=150, cells=3, probes=1)
    assert found(clustered(150, 0), config).recall is None
    assert found(clustered(151, 0), config).recall is not None


def test_what_few_cells_do_not_hold_is_compared_with_all() -> None:
    """Fewer vectors in the probed cell than neighbours: none of a row stays empty."""
    values = clustered(120, 0)
    config = NeighboursConfig(k=60, exact_images=10, cells=3, probes=1)
    others = found(values, config)
    assert int(others.index.min()) >= 0
    assert others.lacking == 0
    assert others.cosines.isfinite().all()
    assert all(len(set(row)) == 60 for row in others.index.tolist())
