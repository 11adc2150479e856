"""Dominance sums and counts: the definition in plain loops, and what rounding may not do."""

import math

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.ops import dominance
from patchwise.ops.dominance import dominance_counts, dominance_sums

POWERS = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)]


def draw(count: int, seed: int = 0, *, levels: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Random x, y and weights; of a few levels, so that many are equal, if wanted."""
    g = torch.Generator().manual_seed(seed)
    x, y, weight = torch.randn(3, count, generator=g, dtype=torch.float64)
    y = (x + y) / 2
    if levels:
        x, y = (x * levels / 4).round(), (y * levels / 4).round()
    return x, y, weight.abs()


def slow_sum(x: Tensor, y: Tensor, weight: Tensor, i: int, power: int) -> float:
    """The sum of one item, rounded once."""
    x_i, y_i = float(x[i]), float(y[i])
    return math.fsum(
        w_j * (x_i - x_j) * (y_j - y_i) ** power
        for x_j, y_j, w_j in zip(x.tolist(), y.tolist(), weight.tolist(), strict=True)
        if x_j < x_i and y_j > y_i
    )


def slow_count(x: Tensor, y: Tensor, i: int) -> int:
    x_i, y_i = float(x[i]), float(y[i])
    pairs = zip(x.tolist(), y.tolist(), strict=True)
    return sum(x_j >= x_i and y_j >= y_i for x_j, y_j in pairs)


def assert_right(x: Tensor, y: Tensor, weight: Tensor, items: range | None = None) -> None:
    """Compare with the loops, to a few last digits of each sum."""
    items = range(len(x)) if items is None else items
    sums = dominance_sums(x, y, weight, powers=(0, 1, 2))
    counts = dominance_counts(x, y)
    chosen = list(items)
    for power in range(3):
        expected = [slow_sum(x, y, weight, i, power) for i in chosen]
        assert sums[power, chosen].tolist() == pytest.approx(expected, rel=1e-13, abs=0)
    assert counts[chosen].tolist() == [slow_count(x, y, i) for i in chosen]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 97, 129])
@pytest.mark.parametrize("levels", [None, 3])
def test_it_is_the_definition(count: int, levels: int | None) -> None:
    assert_right(*draw(count, seed=count, levels=levels))


@pytest.mark.parametrize("bottom", [1, 2, 3, 1000])
@pytest.mark.parametrize("levels", [None, 2, 5])
def test_no_level_is_special(
    bottom: int, levels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to single items, and all of it at the bottom."""
    monkeypatch.setattr(dominance, "_BOTTOM", bottom)
    monkeypatch.setattr(dominance, "_PIECE", max(4, bottom))
    assert_right(*draw(71, levels=levels))


@pytest.mark.parametrize("at_once", [1, 40, 100])
@pytest.mark.parametrize("levels", [None, 5])
def test_working_off_few_at_a_time_changes_nothing(
    at_once: int, levels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, weight = draw(300, levels=levels)
    sums, counts = dominance_sums(x, y, weight, powers=(0, 2)), dominance_counts(x, y)
    monkeypatch.setattr(dominance, "_AT_ONCE", {"cpu": at_once})
    monkeypatch.setattr(dominance, "_BOTTOM", 5)
    monkeypatch.setattr(dominance, "_PIECE", 8)
    torch.testing.assert_close(
        dominance_sums(x, y, weight, powers=(0, 2)), sums, rtol=1e-14, atol=0
    )
    assert dominance_counts(x, y).equal(counts)


def test_many_items() -> None:
    """Enough for parts that are worked off one after the other, and for sums in pieces."""
    assert_right(*draw(70_000), range(7, 70_000, 30_000))
    assert_right(*draw(70_000, levels=100), range(7, 70_000, 30_000))


@pytest.mark.parametrize("powers", POWERS)
def test_each_row_is_a_power(powers: tuple[int, ...]) -> None:
    x, y, weight = draw(100)
    everything = dominance_sums(x, y, weight, powers=(0, 1, 2))
    assert dominance_sums(x, y, weight, powers=powers).equal(everything[list(powers)])


@pytest.mark.parametrize("count", [1, 40, 100])
def test_equal_items_do_not_dominate_each_other(count: int) -> None:
    same, steps = torch.full((count,), 0.3), torch.arange(count, dtype=torch.float32)
    for x, y in [(same, same), (same, steps), (steps, same)]:
        assert not dominance_sums(x, y, torch.ones(count), powers=(0, 1, 2)).any()
    assert dominance_counts(same, same).tolist() == [count] * count
    assert dominance_counts(same, steps).tolist() == list(range(count, 0, -1))
    assert dominance_counts(steps, same).tolist() == list(range(count, 0, -1))


def test_the_order_of_items_does_not_matter() -> None:
    x, y, weight = draw(200, levels=9)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    sums = dominance_sums(x, y, weight, powers=(0, 1))
    shuffled = dominance_sums(x[order], y[order], weight[order], powers=(0, 1))
    torch.testing.assert_close(shuffled, sums[:, order], rtol=1e-13, atol=0)
    assert dominance_counts(x[order], y[order]).equal(dominance_counts(x, y)[order])


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_nothing_is_lost_where_sizes_differ(scale: float, offset: float) -> None:
    """Sums of squares of far items beside those of near ones, all to the last digits."""
    x, y, weight = draw(200)
    spread = torch.where(torch.arange(200) % 7 == 0, scale, 1.0)
    assert_right(x * spread + offset, y * spread.flip(0) + offset, weight * spread)


def test_sums_of_positive_terms_are_never_negative() -> None:
    x = torch.arange(1000.0, dtype=torch.float64) / 3
    assert not dominance_sums(x, x, torch.ones_like(x), powers=(0, 1, 2)).any()
    x, y, weight = draw(1000)
    assert (dominance_sums(x * 1e8, y + x * 1e8, weight, powers=(0, 1, 2)) >= 0).all()


def test_weights_may_be_negative() -> None:
    x, y, weight = draw(100)
    sums = dominance_sums(x, y, weight - 0.5, powers=(1,))[0]
    expected = [slow_sum(x, y, weight - 0.5, i, 1) for i in range(100)]
    assert sums.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_it_is_in_the_items_own_type_and_has_no_gradient() -> None:
    x, y, weight = (values.float().requires_grad_() for values in draw(50))
    before = [values.detach().clone() for values in (x, y, weight)]
    sums = dominance_sums(x, y, weight, powers=(0, 2))
    assert sums.dtype == torch.float32
    assert not sums.requires_grad
    assert dominance_counts(x, y).dtype == torch.int64
    for values, earlier in zip((x, y, weight), before, strict=True):
        assert values.equal(earlier)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("levels", [None, 100])
def test_a_gpu_finds_the_same(levels: int | None) -> None:
    x, y, weight = draw(100_000, levels=levels)
    sums = dominance_sums(x, y, weight, powers=(0, 1, 2))
    moved = [values.cuda() for values in (x, y, weight)]
    there = dominance_sums(*moved, powers=(0, 1, 2))
    torch.testing.assert_close(there.cpu(), sums, rtol=1e-12, atol=0)
    assert dominance_counts(*moved[:2]).cpu().equal(dominance_counts(x, y))


@pytest.mark.bad_input
@pytest.mark.parametrize("powers", [(), (1, 0), (3,), (-1, 0), (0, 0)])
def test_other_powers_are_refused(powers: tuple[int, ...]) -> None:
    with pytest.raises(RangeError, match=r"powers must be some of 0, 1 and 2, rising, got \("):
        dominance_sums(*draw(4), powers=powers)


@pytest.mark.bad_input
def test_other_shapes_are_refused() -> None:
    x, y, weight = draw(6)
    with pytest.raises(ShapeError, match=r"^dominance_sums: .* same shape, got .*'weight': \(5,\)"):
        dominance_sums(x, y, weight[:5], powers=(0,))
    with pytest.raises(ShapeError, match=r"^dominance_counts: .* same shape, got .*'y': \(5,\)"):
        dominance_counts(x, y[:5])
    with pytest.raises(ShapeError, match=r"x must be a list, got shape \(2, 3\)"):
        dominance_counts(x.view(2, 3), y.view(2, 3))
