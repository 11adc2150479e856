"""The most similar keys against a plain sort of all products."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.ops import nearest as module
from patchwise.ops.nearest import Nearest, without_own


def unit(count: int, dim: int = 24, seed: int = 0, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.ones(dim) + spread * (torch.randn(count, dim, generator=generator) - 1)
    return F.normalize(vectors, dim=1)


def plain(queries: Tensor, keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """All products in float64, rounded; the first of equal ones counts."""
    products = (queries.double() @ keys.double().T).to(queries.dtype)
    order = products.sort(dim=1, descending=True, stable=True)
    return order.values[:, :k], order.indices[:, :k]


def offered(queries: Tensor, keys: Tensor, k: int, block: int) -> Nearest:
    nearest = Nearest(queries, k)
    for first in range(0, len(keys), block):
        part = keys[first : first + block]
        nearest.offer(part, torch.arange(first, first + len(part)))
    return nearest


@pytest.fixture(params=["whole", "small"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real sizes, and such that every loop goes round several times."""
    if request.param == "small":
        for name, value in {
            "_QUERIES": 7, "KEYS_AT_ONCE": 90, "_GROUP": 16, "_PAIRS": 5, "_CROWD": 2,
            "_DOUBLE_QUERIES": 3,
        }.items():  # fmt: skip
            monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("k", [1, 5, 30])
@pytest.mark.parametrize("spread", [1.0, 0.01, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_those_of_a_plain_sort(k: int, spread: float, dtype: torch.dtype) -> None:
    """Also where vectors are so alike that products in bfloat16 say nothing."""
    queries, keys = unit(20, seed=1, spread=spread).to(dtype), unit(700, spread=spread).to(dtype)
    values, index = plain(queries, keys, k)
    for block in (700, 64, 33):
        nearest = offered(queries, keys, k, block)
        assert torch.equal(nearest.index, index)
        last_bits = 0 if dtype == torch.float32 else 1e-14
        torch.testing.assert_close(nearest.values, values, rtol=0, atol=last_bits)


@pytest.mark.usefixtures("sizes")
def test_of_equal_ones_the_first_counts() -> None:
    keys = unit(40).repeat(9, 1)
    values, index = plain(keys[:12], keys, 12)
    nearest = offered(keys[:12], keys, 12, 50)
    assert torch.equal(nearest.index, index)
    assert torch.equal(nearest.values, values)
    alike = offered(torch.ones(3, 4), torch.ones(200, 4), 5, 70)
    assert alike.index.tolist() == [[0, 1, 2, 3, 4]] * 3


@pytest.mark.parametrize("rising", [False, True])
def test_the_order_of_the_keys_does_not_matter(rising: bool) -> None:
    queries, keys = unit(3, seed=1), unit(900)
    order = (keys @ queries[0]).argsort(descending=not rising)
    nearest = offered(queries, keys[order], 8, 100)
    assert torch.equal(order[nearest.index], plain(queries, keys, 8)[1])


@pytest.mark.usefixtures("sizes")
def test_lengths_need_not_be_one() -> None:
    queries = unit(9, seed=1) * torch.logspace(-6, 6, 9)[:, None]
    keys = unit(400) * torch.logspace(-3, 3, 400)[:, None]
    values, index = plain(queries, keys, 6)
    nearest = offered(queries, keys, 6, 90)
    assert torch.equal(nearest.index, index)
    assert torch.equal(nearest.values, values)


@pytest.mark.usefixtures("sizes")
def test_only_the_rows_that_are_asked_for_see_the_keys() -> None:
    queries, keys = unit(30, seed=1), unit(500)
    rows = torch.tensor([3, 4, 9, 17, 29])
    nearest = Nearest(queries, 4)
    nearest.offer(keys[:200], torch.arange(200) + 1000)
    nearest.offer(keys[200:], torch.arange(200, 500), rows)
    others = torch.tensor([r for r in range(30) if r not in rows.tolist()])
    assert torch.equal(nearest.index[others], plain(queries, keys[:200], 4)[1][others] + 1000)
    expected = plain(queries, keys, 4)[1][rows]
    assert torch.equal(nearest.index[rows] % 1000, expected)


def test_places_stay_empty_where_there_are_fewer_keys() -> None:
    nearest = offered(unit(3, seed=1), unit(4), 6, 2)
    assert (nearest.index[:, :4] >= 0).all()
    assert (nearest.index[:, 4:] == -1).all()
    assert nearest.values[:, 4:].isneginf().all()
    assert torch.equal(nearest.values[:, :4].argsort(descending=True), torch.arange(4).expand(3, 4))


def test_the_bound_holds_for_the_first_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the first product is off by, within its bound, nothing is lost."""
    queries, keys = unit(16, seed=1), unit(2000)
    lost = [(x - x.bfloat16()).norm(dim=1) for x in (queries, keys)]
    worst = 0.98 * (lost[0][:, None] + lost[1])
    flips = torch.randn(16, 2000, generator=torch.Generator().manual_seed(2)).sign()

    def set_wrong(out: Tensor, a: Tensor, b: Tensor, *, half: bool) -> None:
        place = (b.T[:, None] == keys).all(dim=2).float().argmax(dim=1)
        row = (a[:, None] == queries).all(dim=2).float().argmax(dim=1)
        out.copy_(a @ b + (worst * flips)[row][:, place])

    monkeypatch.setattr(module, "set_product", set_wrong)
    assert torch.equal(offered(queries, keys, 9, 500).index, plain(queries, keys, 9)[1])


def test_few_products_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of keys that pass by in many blocks, nearly all are left out by the first product."""
    made = 0
    products = module._products

    def counted(queries: Tensor, keys: Tensor, row: Tensor, column: Tensor) -> Tensor:
        nonlocal made
        made += len(row)
        return products(queries, keys, row, column)

    monkeypatch.setattr(module, "_products", counted)
    offered(unit(64, dim=128, seed=1), unit(20_000, dim=128), 10, 2000)
    assert 0 < made < 64 * 400


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("k", [1, 5, 30])
@pytest.mark.parametrize("block", [700, 33])
def test_with_a_limit_only_what_is_below_counts(k: int, block: int) -> None:
    queries, keys = unit(20, seed=1), unit(700)
    values, index = plain(queries, keys, 700)
    below = float(values[3, 40])  # the limit itself does not count
    nearest = Nearest(queries, k, below=below)
    for first in range(0, 700, block):
        part = keys[first : first + block]
        nearest.offer(part, torch.arange(first, first + len(part)))
    for row in range(20):
        kept = values[row] < below
        assert torch.equal(nearest.values[row], values[row][kept][:k])
        assert torch.equal(nearest.index[row], index[row][kept][:k])


def test_what_lacks_keys_below_a_limit_says_so() -> None:
    queries = torch.eye(3)
    nearest = Nearest(queries, 2, below=0.5)
    nearest.offer(torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [1, 0, 0]]), torch.arange(3))
    assert nearest.index[0].tolist() == [-1, -1]
    assert nearest.values[0].tolist() == [-torch.inf, -torch.inf]
    assert nearest.index[1].tolist() == [1, 0]


def test_without_its_own_key_the_best_others_stay() -> None:
    values = torch.tensor([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.3, 0.2, 0.1]])
    index = torch.tensor([[4, 5, 6], [5, 6, 7], [1, 2, 3]])
    rest, others = without_own(values, index, torch.tensor([5, 5, 9]))
    assert others.tolist() == [[4, 6], [6, 7], [1, 2]]
    assert torch.equal(rest, torch.tensor([[0.9, 0.7], [0.5, 0.4], [0.3, 0.2]]))
