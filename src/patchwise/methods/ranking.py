"""CoTAP's ranking of the patches of images and neighbours, from maps of scores to a loss.

Letters: B images, N = 2 B images and neighbours, V views, K prototypes, n pairs of cells.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.configs.cotap import CoTAPConfig
from patchwise.losses.cotap import cotap_loss
from patchwise.methods.method import Step
from patchwise.methods.paired_views import PairedViews
from patchwise.methods.ranking_pairs import (
    CellPairs,
    Cells,
    choose_cells,
    derangements,
    pool_cells,
    take_cells,
)
from patchwise.methods.taught import TaughtPatches

_MOST_RANKED = 2048  # pairs that the accuracy is told from


@dataclass(frozen=True)
class Ranking:
    """How well the student ranks pairs of cells as the teacher does."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]  # see `ranking_accuracy`


def rank_patches(
    student: Float[Tensor, "V N H W K"],
    taught: TaughtPatches,
    views: PairedViews,
    config: CoTAPConfig,
    step: Step,
) -> Ranking:
    """Rank pairs of cells of images and neighbours, for every number of cells; return the means.

    1. Maps are averaged in cells; of each image those with most foreground are kept, over both
       global views.   2. Cells of an image are compared with those of its neighbour, and with those
       of other images' neighbours.   3. `cotap_loss`, over all pairs as one list.

    Args:
        student: Scores of the global views.
        taught: What the teacher says of the same crops.
        views: Name the draws that decide between cells with the same foreground.
        config: How many cells, and the loss.
        step: Of the run.
    """
    losses, accuracies = [], []
    for number in range(len(config.ranking_cells)):
        cells = _choose(student, taught, views, config, number, step)
        images, neighbours = (cells.of(half) for half in _halves(views.images))
        if config.rank_all_processes:
            images, neighbours = (half.gather(step.collectives) for half in (images, neighbours))
        others = derangements(
            max(1, config.strangers), len(images.student), step.seed, step.index, number
        )[: config.strangers]
        pairs = CellPairs.compare(images, neighbours, torch.from_numpy(others).to(student.device))
        losses.append(
            cotap_loss(
                pairs.prediction,
                pairs.target,
                pairs.match,
                tau=config.tau,
                threshold=config.similarity_threshold,
                nonmatch_weight=config.nonmatch_weight,
                surrogate=config.surrogate,
            )
        )
        if step.watched:
            accuracies.append(ranking_accuracy(pairs.prediction.detach(), pairs.target))
    loss = torch.stack(losses).mean()
    return Ranking(loss, torch.stack(accuracies).mean() if accuracies else loss.new_zeros(()))


@torch.no_grad()
def ranking_accuracy(
    prediction: Float[Tensor, " n"], target: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return in what share of pairs of items prediction and target agree on which is higher.

    Pairs with equal targets do not count; equal predictions are half right. Of many items,
    evenly spread ones are looked at. 0.5 where there is nothing to rank.

    >>> prediction, target = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([3.0, 1.0, 2.0])
    >>> round(float(ranking_accuracy(prediction, target)), 4)  # two of three
    0.6667
    """
    if len(target) > _MOST_RANKED:
        spread = torch.linspace(0, len(target) - 1, _MOST_RANKED, device=target.device).long()
        prediction, target = prediction[spread], target[spread]
    higher = target[:, None] > target[None, :]
    ahead = prediction[:, None] - prediction[None, :]
    right = (ahead > 0).double() + 0.5 * (ahead == 0).double()
    count = higher.sum()
    share = (right * higher).sum() / count.clamp(min=1)
    return torch.where(count > 0, share, 0.5)


def _choose(
    student: Float[Tensor, "V N H W K"],
    taught: TaughtPatches,
    views: PairedViews,
    config: CoTAPConfig,
    number: int,
    step: Step,
) -> Cells:
    """Average maps in cells, the ``number``-th of the config, and keep those that are ranked."""
    side = config.ranking_cells[number]
    mass = pool_cells(taught.foreground[..., None].to(student.dtype), side)[..., 0]  # [N, cells]
    mostly = mass >= 0.5
    count = config.ranked_cells
    if not count:  # as many as any image has; what others lack is not kept
        count = int(mostly.sum(dim=1).amax().clamp(min=1))
        if config.rank_all_processes:
            counts = step.collectives.gather(mass.new_full((1,), count))
            count = int(counts.amax())
    uniform = views.uniform(mass.shape[1], number, mass.device)
    chosen = choose_cells(mass, uniform, count)
    return Cells(
        take_cells(pool_cells(student, side), chosen),
        take_cells(pool_cells(taught.scores, side), chosen),
        None if config.ranked_cells else mostly.gather(1, chosen),
    )


def _halves(images: int) -> tuple[slice, slice]:
    return slice(0, images // 2), slice(images // 2, images)
