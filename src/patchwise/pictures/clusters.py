"""Patch features in groups: k-means before and after, in the same colours."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from patchwise.ops.assignment import greedy_assignment, k_means
from patchwise.pictures.colours import PALETTE, rgb
from patchwise.pictures.drawing import patch_map
from patchwise.pictures.figure import Figure, Row, Swatch, Tile
from patchwise.pictures.gallery import Gallery, Seen

_STARTS = 4  # of which the one with the least distances counts


def cluster_patches(
    features: Float[Tensor, "M D"], clusters: int, *, seed: int
) -> Int[Tensor, " M"]:
    """Return the cluster of each feature by direction alone, the best of four starts."""
    unit = F.normalize(features, dim=1)
    starts = (k_means(unit, clusters, seed=_STARTS * seed + s) for s in range(_STARTS))
    return min(starts, key=lambda found: found.inertia).labels


def rename_clusters(
    reference: Int[Tensor, " M"], labels: Int[Tensor, " M"], clusters: int
) -> Int[Tensor, " M"]:
    """Return ``labels`` with new numbers, so that many agree with ``reference``."""
    overlap = torch.zeros(clusters, clusters)
    overlap.index_put_((labels, reference), torch.ones(len(labels)), accumulate=True)
    return greedy_assignment(overlap)[labels]


def order_by_size(labels: Int[Tensor, " M"], clusters: int) -> Int[Tensor, " M"]:
    """Return ``labels`` with new numbers: cluster 0 is the largest."""
    order = torch.bincount(labels, minlength=clusters).argsort(descending=True, stable=True)
    return order.argsort()[labels]


def purity(labels: Int[Tensor, " M"], categories: Int[Tensor, " M"]) -> float:
    """Return the share of patches whose category is the most frequent one of their cluster."""
    counts = torch.zeros(int(labels.max()) + 1, int(categories.max()) + 1)
    counts.index_put_((labels, categories), torch.ones(len(labels)), accumulate=True)
    return float(counts.max(dim=1).values.sum() / len(labels))


def clusters_figure(gallery: Gallery, before: Seen, after: Seen, *, seed: int) -> Figure:
    """Show the cluster of each patch, before beside after."""
    k, count = len(PALETTE), len(before.patches)
    second = order_by_size(cluster_patches(after.patches.flatten(0, 1), k, seed=seed), k)
    first = cluster_patches(before.patches.flatten(0, 1), k, seed=seed)
    first = rename_clusters(second, first, k)
    palette = np.array([rgb(colour) for colour in PALETTE], dtype=np.uint8)
    maps = [palette[labels.view(count, *before.grid).numpy()] for labels in (first, second)]
    rows = []
    for i in range(gallery.shown):
        name = gallery.names[i]
        tiles = [Tile(gallery.images[i], "image", f"The image {name}.")]
        for label, colours in zip(("before", "after"), maps, strict=True):
            alt = f"Patches of {name} in the colours of their clusters {label} training."
            tiles.append(Tile(patch_map(colours[i]), label, alt, coarse=True))
        rows.append(Row(name, tuple(tiles)))
    caption = (
        f"Patches in {k} groups of like features. A group that follows objects from image to image "
        f"has found something that they share; one that follows a place in the image, or "
        f"speckles, has not; one that fills an image tells images apart, not their parts."
        f"{_agreement(gallery, first, second)}"
    )
    facts = (
        f"All patches of {count} images are grouped by the direction of their features (k-means, "
        f"the best of {_STARTS} starts), once before and once after training. Groups that hold "
        f"many of the same patches before and after have the same colour; group 1 is the largest "
        f"after. Images: {gallery.origin}."
    )
    swatches = tuple(Swatch(colour, f"group {n}") for n, colour in enumerate(PALETTE, start=1))
    return Figure("clusters", "Patches in groups", caption, facts, tuple(rows), swatches)


def _agreement(gallery: Gallery, before: Tensor, after: Tensor) -> str:
    """Return a sentence on how well groups and true categories agree, where these are known."""
    if gallery.categories is None:
        return ""
    truth = gallery.categories.flatten()
    known = truth > 0
    if not known.any():
        return ""
    most = float(torch.bincount(truth[known]).max() / known.sum())
    return (
        f" If every patch of an object were given the most frequent true category of its group, "
        f"{purity(before[known], truth[known]):.0%} would be right before and "
        f"{purity(after[known], truth[known]):.0%} after; with a single group, {most:.0%}."
    )
