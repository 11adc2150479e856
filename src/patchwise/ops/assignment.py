"""Putting things into groups, and groups beside groups: k-means and greedy pairing."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.errors import RangeError, ShapeError
from patchwise.randomness import random_uniform

_CHUNK = 4096  # points compared with the centres at a time


@dataclass(frozen=True)
class Clusters:
    """What k-means found. Letters: K clusters, M points, D channels."""

    centres: Float[Tensor, "K D"]
    labels: Int[Tensor, " M"]
    inertia: float  # sum of the squared distances of all points to their centres


def k_means(
    points: Float[Tensor, "M D"],
    clusters: int,
    *,
    seed: int = 0,
    iterations: int = 100,
    spherical: bool = False,
) -> Clusters:
    """Group points round centres so that the squared distances to them are small.

    1. The first centres are points, each drawn with a chance that grows with the squared distance
       to those before it (k-means++).
    2. Every point goes to its nearest centre; every centre moves to the mean of its points. A
       centre without points moves to the point that is farthest from its own centre.
    3. Step 2 is repeated until no point moves, or ``iterations`` times.

    Args:
        points: Any; spherical ones are scaled to unit length first.
        clusters: How many, K; at most as many as there are points.
        seed: Of the first centres; equal calls give equal clusters.
        iterations: The most repetitions.
        spherical: Centres have unit length too, so that points go to that of highest cosine.

    Returns:
        Centres, the cluster of each point in [0, K), and what is left of the distances. Fewer
        than K clusters hold points only where fewer than K points differ.

    Raises:
        RangeError: There are fewer points than clusters, or a point is not finite.

    Source: Lloyd 1982; Arthur and Vassilvitskii 2007, "k-means++".

    >>> k_means(torch.tensor([[0.0], [1.0], [10.0], [11.0]]), 2).inertia  # 4 points, each 0.5 off
    1.0
    """
    check_positive("k_means", clusters=clusters, iterations=iterations)
    _check(points, clusters)
    points = F.normalize(points, dim=1) if spherical else points
    centres = _first_centres(points, clusters, seed)
    labels, distance = _nearest(points, centres)
    for _ in range(iterations):
        centres = _move(points, centres, labels, distance)
        centres = F.normalize(centres, dim=1) if spherical else centres
        before = labels
        labels, distance = _nearest(points, centres)
        if torch.equal(before, labels):
            break
    return Clusters(centres, labels, float(distance.double().sum()))


def greedy_assignment(scores: Float[Tensor, "R C"]) -> Int[Tensor, " R"]:
    """Pair rows with columns: the highest score first, then the highest of what is left.

    Args:
        scores: At most as many rows as columns.

    Returns:
        The column of each row, no column twice. Ties go to the first row, then the first column.

    Raises:
        ShapeError: There are more rows than columns.

    >>> greedy_assignment(torch.tensor([[3.0, 2.0], [9.0, 4.0]]))
    tensor([1, 0])
    """
    rows, columns = scores.shape
    if rows > columns:
        raise ShapeError(
            f"greedy_assignment: scores must have at most as many rows as columns, "
            f"got {rows} x {columns}"
        )
    left = scores.double().clone()
    chosen = torch.zeros(rows, dtype=torch.int64)
    for _ in range(rows):
        row, column = divmod(int(left.argmax()), columns)
        chosen[row] = column
        left[row], left[:, column] = -torch.inf, -torch.inf
    return chosen


def _check(points: Tensor, clusters: int) -> None:
    if len(points) < clusters:
        raise RangeError(
            f"k_means: points must be at least as many as clusters, "
            f"got {len(points)} points for {clusters} clusters"
        )
    if not points.isfinite().all():
        raise RangeError(f"k_means: points must be finite, got {points[~points.isfinite()][0]}")


def _first_centres(points: Tensor, clusters: int, seed: int) -> Tensor:
    uniform = random_uniform(clusters, seed)
    chosen = [int(uniform[0] * len(points))]
    distance = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for draw in uniform[1:]:
        _, latest = _nearest(points, points[chosen[-1:]])
        distance = torch.minimum(distance, latest.double().cpu())
        reach = distance.cumsum(0)
        # Where all points are centres already, any will do.
        place = draw * float(reach[-1]) if reach[-1] > 0 else 0.0
        chosen.append(min(int(torch.searchsorted(reach, place, right=True)), len(points) - 1))
    return points[chosen]


def _nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centre of each point, and the squared distance to it."""
    parts = [_nearest_of_chunk(chunk, centres) for chunk in torch.split(points, _CHUNK)]
    labels, distances = zip(*parts, strict=True)
    return torch.cat(labels), torch.cat(distances)


def _nearest_of_chunk(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    # Without the shortcut by matrix product: equal points shall be at distance 0.
    distance = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    least, label = distance.min(dim=1)
    return label, least.square()


def _move(points: Tensor, centres: Tensor, labels: Tensor, distance: Tensor) -> Tensor:
    """Return the means of the clusters; empty ones begin anew at the farthest points."""
    sums = torch.zeros_like(centres).index_add_(0, labels, points)
    count = torch.bincount(labels, minlength=len(centres)).to(points.dtype)
    moved = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], centres)
    empty = (count == 0).nonzero()[:, 0]
    far = distance.topk(len(empty)).indices
    moved[empty] = points[far]
    return moved
