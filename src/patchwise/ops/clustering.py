"""k-means of very many points, by faiss. Letters: M points, K clusters, D channels."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchwise.checks import check_positive
from patchwise.errors import RangeError

_LARGEST_SEED = 2**31 - 1  # faiss takes an int


@dataclass(frozen=True)
class Centres:
    """What k-means found."""

    places: Float[Tensor, "K D"]
    spherical: bool  # whether places have unit length, and nearest means of highest cosine

    def scores(self, points: Float[Tensor, "*M D"]) -> Float[Tensor, "*M K"]:
        """Return scores of which the highest is that of the nearest centre.

        They are linear in the points but for a constant: what is linear, such as enlarging a map
        of features bilinearly, may be done to the scores of its points instead.
        """
        places = self.places.to(points.device)
        products = points @ places.T
        return products if self.spherical else products - places.square().sum(dim=1) / 2

    def nearest(self, points: Float[Tensor, "*M D"]) -> Int[Tensor, "*M"]:
        """Return the nearest centre of each point; of several, the first."""
        return self.scores(points).argmax(dim=-1)


def faiss_k_means(
    points: Float[Tensor, "M D"],
    clusters: int,
    *,
    seed: int,
    iterations: int,
    restarts: int = 1,
    spherical: bool = False,
) -> Centres:
    """Return the centres of the best of several starts: that with the least distances.

    Each start begins at K points drawn at random. Where a cluster loses all its points, faiss
    splits a large one. Fewer than K clusters hold points where fewer than K points differ.
    All points count: who wants fewer draws them before. The order of the points matters, as the
    first centres are drawn by it. `patchwise.ops.assignment.k_means` starts with more care, for
    hundreds of points.

    Args:
        points: Finite numbers; on the CPU, where faiss works.
        clusters: How many, K; at most as many as there are points.
        seed: Of the starts, in [0, 2^63). Equal calls give equal centres, whatever the threads.
        iterations: Of each start.
        restarts: Starts.
        spherical: Centres have unit length, and points go to that of highest cosine; the points
            must have unit length too.

    Raises:
        RangeError: There are fewer points than clusters, or a point is not finite.

    Source: Johnson et al. 2017, "Billion-scale similarity search with GPUs", arXiv:1702.08734.
    """
    import faiss  # noqa: PLC0415 - slow, and rarely needed

    name = "faiss_k_means"
    check_positive(name, clusters=clusters, iterations=iterations, restarts=restarts)
    if len(points) < clusters:
        raise RangeError(
            f"{name}: points must be at least as many as clusters, "
            f"got {len(points)} points for {clusters} clusters; give more images, or fewer clusters"
        )
    if not points.isfinite().all():
        raise RangeError(f"{name}: points must be finite, got {points[~points.isfinite()][0]}")
    engine = faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=iterations,
        nredo=restarts,
        seed=seed % _LARGEST_SEED,
        spherical=spherical,
        min_points_per_centroid=1,  # else faiss prints advice
        max_points_per_centroid=len(points),  # else it leaves out what is beyond 256 a cluster
    )
    engine.train(points.float().cpu().numpy())
    return Centres(torch.from_numpy(np.array(engine.centroids)), spherical)
