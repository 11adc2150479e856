"""What k-means by faiss must be, whatever the points."""

import faiss
import pytest
import torch
from sklearn.cluster import KMeans

from patchwise.errors import RangeError
from patchwise.ops.clustering import Centres, faiss_k_means


def planted(seed: int, groups: int, each: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """Well separated groups of points, in mixed order, and the group of each."""
    generator = torch.Generator().manual_seed(seed)
    centres = 20 * torch.eye(groups, 8)
    truth = torch.arange(groups).repeat(each)
    return centres[truth] + torch.randn(len(truth), 8, generator=generator), truth


def cloud(count: int = 300, dims: int = 6) -> torch.Tensor:
    return torch.randn(count, dims, generator=torch.Generator().manual_seed(0))


def inertia(points: torch.Tensor, centres: Centres) -> float:
    places = centres.places[centres.nearest(points)]
    return float((points - places).square().sum())


@pytest.mark.parametrize("spherical", [False, True])
def test_planted_groups_are_found(spherical: bool) -> None:
    points, truth = planted(0, 5)
    if spherical:
        points = torch.nn.functional.normalize(points, dim=1)
    found = faiss_k_means(points, 5, seed=0, iterations=20, restarts=10, spherical=spherical)
    pairs = {(int(t), int(c)) for t, c in zip(truth, found.nearest(points), strict=True)}
    assert len(pairs) == 5


def test_centres_are_the_means_of_their_points() -> None:
    points = cloud()
    found = faiss_k_means(points, 7, seed=0, iterations=100)
    nearest = found.nearest(points)
    assert torch.equal(nearest, (points[:, None] - found.places).square().sum(dim=2).argmin(dim=1))
    for k in range(7):
        mean = points[nearest == k].mean(dim=0)
        torch.testing.assert_close(found.places[k], mean, atol=1e-5, rtol=0)


def test_distances_are_about_those_of_scikit_learn() -> None:
    points = cloud(2000)
    other = KMeans(20, n_init=5, random_state=0).fit(points.numpy())
    found = faiss_k_means(points, 20, seed=0, iterations=50, restarts=5)
    assert inertia(points, found) == pytest.approx(other.inertia_, rel=0.01)


def test_all_points_count_however_few_the_clusters() -> None:
    """Faiss alone takes 256 points a cluster: here a mean of 256 would be off by 0.06."""
    points = cloud(5000, 2)
    found = faiss_k_means(points, 1, seed=0, iterations=2)
    torch.testing.assert_close(found.places[0], points.mean(dim=0), atol=1e-4, rtol=0)


def test_more_starts_are_no_worse_and_the_best_is_kept() -> None:
    points, _ = planted(1, 8, each=10)
    least = [
        inertia(points, faiss_k_means(points, 8, seed=4, iterations=20, restarts=r))
        for r in (1, 3, 20)
    ]
    assert least == sorted(least, reverse=True)
    assert least[2] < least[0]


def test_equal_calls_give_equal_centres_and_the_seed_matters() -> None:
    points = cloud()
    places = [faiss_k_means(points, 9, seed=s, iterations=5).places for s in (1, 1, 2)]
    assert torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])
    faiss_k_means(points, 2, seed=2**63 - 1, iterations=1)  # any seed will do


def test_threads_change_nothing() -> None:
    points = cloud(4000, 20)
    before = faiss.omp_get_max_threads()
    places = []
    try:
        for threads in (1, 2, 3):
            faiss.omp_set_num_threads(threads)
            places.append(faiss_k_means(points, 50, seed=0, iterations=5).places)
    finally:
        faiss.omp_set_num_threads(before)
    assert torch.equal(places[0], places[1])
    assert torch.equal(places[0], places[2])


def test_spherical_centres_have_unit_length_and_the_length_of_points_does_not_matter() -> None:
    points = torch.nn.functional.normalize(cloud(), dim=1)
    found = faiss_k_means(points, 5, seed=0, iterations=10, spherical=True)
    torch.testing.assert_close(found.places.norm(dim=1), torch.ones(5))
    lengths = torch.linspace(0.1, 9, len(points))[:, None]
    assert torch.equal(found.nearest(points), found.nearest(points * lengths))
    assert torch.equal(found.nearest(points), (points @ found.places.T).argmax(dim=1))


def test_points_that_are_all_alike_are_one_cluster() -> None:
    points = torch.ones(20, 3)
    found = faiss_k_means(points, 4, seed=0, iterations=3)
    assert len(torch.unique(found.nearest(points))) == 1
    assert found.places.isfinite().all()


def test_as_many_clusters_as_points_will_do(capfd: pytest.CaptureFixture[str]) -> None:
    points = cloud(8)
    found = faiss_k_means(points, 8, seed=0, iterations=5)
    assert inertia(points, found) == pytest.approx(0, abs=1e-5)
    assert capfd.readouterr() == ("", "")


def test_points_of_any_shape_go_to_their_centre() -> None:
    centres = Centres(torch.tensor([[0.0], [10.0]]), spherical=False)
    assert centres.nearest(torch.tensor([[[1.0], [6.0]], [[4.0], [99.0]]])).tolist() == [
        [0, 1],
        [0, 1],
    ]


@pytest.mark.bad_input
def test_what_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(RangeError, match="got 3 points for 4 clusters; give more images, or fewer"):
        faiss_k_means(torch.rand(3, 2), 4, seed=0, iterations=1)
    with pytest.raises(RangeError, match="iterations must be positive"):
        faiss_k_means(torch.rand(3, 2), 2, seed=0, iterations=0)
    with pytest.raises(RangeError, match="restarts must be positive"):
        faiss_k_means(torch.rand(3, 2), 2, seed=0, iterations=1, restarts=0)
    with pytest.raises(RangeError, match="finite, got nan"):
        faiss_k_means(torch.tensor([[0.0], [torch.nan]]), 1, seed=0, iterations=1)
