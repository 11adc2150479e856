"""What clusters and pairings must be, whatever the points."""

import itertools

import pytest
import torch

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.assignment import _move as move_centres
from patchwise.ops.assignment import greedy_assignment, k_means


def planted(seed: int, groups: int, each: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """Well separated groups of points, in mixed order, and the group of each."""
    generator = torch.Generator().manual_seed(seed)
    centres = 20 * torch.eye(groups, 8)
    truth = torch.arange(groups).repeat(each)
    return centres[truth] + torch.randn(len(truth), 8, generator=generator), truth


@pytest.mark.parametrize("seed", range(10))
def test_planted_groups_are_found(seed: int) -> None:
    points, truth = planted(seed, 5)
    # Several starts, as where it matters: one start may put two centres into one group.
    found = min((k_means(points, 5, seed=s) for s in range(5)), key=lambda c: c.inertia)
    pairs = {(int(t), int(c)) for t, c in zip(truth, found.labels, strict=True)}
    assert len(pairs) == 5


def test_every_point_is_at_its_nearest_centre_and_every_centre_is_a_mean() -> None:
    points = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    found = k_means(points, 7, seed=3)
    distance = (points[:, None] - found.centres).square().sum(dim=2)
    assert torch.equal(distance.argmin(dim=1), found.labels)
    assert found.inertia == pytest.approx(float(distance.min(dim=1).values.sum()), rel=1e-5)
    for k in range(7):
        torch.testing.assert_close(found.centres[k], points[found.labels == k].mean(dim=0))


def test_equal_calls_give_equal_clusters_and_the_seed_matters() -> None:
    points = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    first, second = k_means(points, 7, seed=1), k_means(points, 7, seed=1)
    assert torch.equal(first.labels, second.labels)
    assert any(not torch.equal(first.labels, k_means(points, 7, seed=s).labels) for s in (2, 3))


@pytest.mark.parametrize("seed", range(10))
def test_no_cluster_is_left_empty(seed: int) -> None:
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(seed)) ** 5
    assert len(torch.unique(k_means(points, 12, seed=seed).labels)) == 12


def test_an_empty_cluster_begins_anew_at_the_farthest_point() -> None:
    points = torch.tensor([[0.0], [1.0], [50.0]])
    labels, distance = torch.zeros(3, dtype=torch.int64), torch.tensor([0.0, 1.0, 2500.0])
    moved = move_centres(points, torch.tensor([[0.0], [-99.0]]), labels, distance)
    assert moved.tolist() == [[17.0], [50.0]]


def test_points_that_are_all_alike_are_no_trouble() -> None:
    found = k_means(torch.ones(10, 3), 4)
    assert found.inertia == 0
    assert torch.unique(found.centres).tolist() == [1.0]


def test_many_points_go_through_in_parts() -> None:
    points = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0))
    found = k_means(points, 3, iterations=5)
    distance = (points[:, None] - found.centres).square().sum(dim=2)
    assert torch.equal(distance.argmin(dim=1), found.labels)


@pytest.mark.parametrize("seed", range(5))
def test_spherical_centres_have_unit_length_and_points_go_by_cosine(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = 10 ** torch.randn(200, 1, generator=generator)
    points = torch.randn(200, 4, generator=generator) * lengths
    found = k_means(points, 7, seed=seed, spherical=True)
    unit = points / points.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found.centres.norm(dim=1), torch.ones(7))
    assert torch.equal((unit @ found.centres.T).argmax(dim=1), found.labels)
    for k in range(7):
        mean = unit[found.labels == k].mean(dim=0)
        torch.testing.assert_close(found.centres[k], mean / mean.norm())
    away = (unit - found.centres[found.labels]).square().sum()
    assert found.inertia == pytest.approx(float(away), rel=1e-5)


def test_spherical_clusters_do_not_hear_how_long_points_are() -> None:
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    one, other = (k_means(points * size, 4, spherical=True) for size in (1.0, 64.0))
    assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("seed", range(10))
def test_no_spherical_cluster_is_left_empty(seed: int) -> None:
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(seed)) ** 5
    assert len(torch.unique(k_means(points, 12, seed=seed, spherical=True).labels)) == 12


def test_greedy_takes_the_highest_first() -> None:
    scores = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    chosen = greedy_assignment(scores).tolist()
    assert len(set(chosen)) == 4
    row, column = divmod(int(scores.argmax()), 6)
    assert chosen[row] == column


def test_greedy_undoes_a_permutation() -> None:
    for order in itertools.permutations(range(4)):
        assert greedy_assignment(torch.eye(4)[list(order)]).tolist() == list(order)


@pytest.mark.bad_input
def test_what_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(RangeError, match="3 points for 4 clusters"):
        k_means(torch.rand(3, 2), 4)
    with pytest.raises(RangeError, match="clusters must be positive"):
        k_means(torch.rand(3, 2), 0)
    with pytest.raises(RangeError, match="finite, got nan"):
        k_means(torch.tensor([[0.0], [torch.nan]]), 1)
    with pytest.raises(ShapeError, match="3 x 2"):
        greedy_assignment(torch.rand(3, 2))
