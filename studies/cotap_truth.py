"""What CoTAP comes to where a part of it is told the truth of the scenes that it trains on.

It tells how much is to be had by a better mask, better neighbours or a better teacher of the ranks.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from patchwise.augment.multicrop import GLOBAL_VIEWS
from patchwise.configs.cotap import CoTAPConfig
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import CATEGORIES, Scenes
from patchwise.distributed import Collectives
from patchwise.features.subject import Subject
from patchwise.index.kept import Neighbours
from patchwise.methods.method import Step
from patchwise.methods.paired_views import PairedViews
from patchwise.methods.ranking import Ranking, rank_patches
from patchwise.methods.taught import TaughtPatches, teach_patches
from patchwise.methods.two_headed import TwoHeadedBackbone
from patchwise.models.score_queue import ScoreQueue
from patchwise.ops.roi_align import roi_align

TRUTHS = ("mask", "neighbours", "targets")
_AT_ONCE = 1000  # scenes


@contextmanager
def knowing(truth: str | None, scenes: Scenes | None) -> Iterator[None]:
    """Let CoTAP know something of the scenes that it trains on; of nothing, None.

    - mask: the foreground is what is mostly of objects.
    - neighbours: an image's are those whose pixels are shared out among categories most alike.
    - targets: pairs of cells are ranked by how alike their pixels are shared out among categories
      and background.
    """
    if truth is None:
        yield
        return
    assert scenes is not None, "truth is known of scenes alone"
    assert truth in TRUTHS, truth
    if truth == "neighbours":
        found = functools.partial(true_neighbours, scenes)
        with mock.patch("patchwise.api.nearby.find_neighbours", found):
            yield
        return
    known = categories(scenes)
    name, told = {
        "mask": ("teach_patches", functools.partial(_teach_the_mask, known)),
        "targets": ("rank_patches", functools.partial(_rank_by_categories, known)),
    }[truth]
    with mock.patch(f"patchwise.methods.cotap.{name}", told):
        yield


def categories(scenes: Scenes) -> Int64[Tensor, "N H W"]:
    """Return the category of every pixel of all scenes; 0 is the background."""
    blocks = [
        scenes.scenes(np.arange(first, min(first + _AT_ONCE, len(scenes)))).semantic
        for first in range(0, len(scenes), _AT_ONCE)
    ]
    return torch.from_numpy(np.concatenate(blocks)).long()


def true_neighbours(
    scenes: Scenes,
    subject: Subject,
    source: ImageSource,
    settings: NeighboursConfig,
    *,
    cache: Path | None = None,
    tolerated: int = 10,
) -> Neighbours:
    """Return neighbours by categories, in the place of `find_neighbours`."""
    del subject, source, cache, tolerated
    shares = [
        F.one_hot(block, 1 + len(CATEGORIES))[..., 1:].float().mean(dim=(1, 2))
        for block in torch.split(categories(scenes), _AT_ONCE)
    ]
    keys = F.normalize(torch.cat(shares), dim=1)
    cosines, ids = [], []
    for first in range(0, len(keys), _AT_ONCE):
        alike = keys[first : first + _AT_ONCE] @ keys.mT
        alike[torch.arange(len(alike)), first + torch.arange(len(alike))] = -1  # not itself
        best = alike.topk(settings.k, dim=1)
        cosines.append(best.values)
        ids.append(best.indices)
    return Neighbours(torch.cat(ids).numpy(), torch.cat(cosines).numpy())


def shares_of_patches(
    known: Int64[Tensor, "N H W"], views: PairedViews, grid: tuple[int, int]
) -> Float[Tensor, "V N rows columns classes"]:
    """Return how the pixels of each patch of the global views are shared out among categories."""
    ids = torch.as_tensor(np.asarray(views.key.ids), dtype=torch.int64)
    maps = F.one_hot(known[ids], 1 + len(CATEGORIES)).float()
    crops = views.crops[:GLOBAL_VIEWS]
    assert not any(crop.flip.any() for crop in crops), "CoTAP's views are never mirrored"
    return torch.stack([roi_align(maps, crop.boxes.cpu().float(), grid) for crop in crops])


def _teach_the_mask(
    known: Int64[Tensor, "N H W"],
    teacher: TwoHeadedBackbone,
    views: PairedViews,
    queue: ScoreQueue,
    config: CoTAPConfig,
    collectives: Collectives,
) -> TaughtPatches:
    """Return what the teacher says, but for the foreground: what is mostly of objects."""
    assert config.views.base_px >= known.shape[-1], "crops are of scenes in their own size"
    taught = teach_patches(teacher, views, queue, config, collectives)
    rows, columns = taught.foreground.shape[2:]
    background = shares_of_patches(known, views, (rows, columns))[..., 0]
    return replace(taught, foreground=(background <= 0.5).to(taught.foreground.device))


def _rank_by_categories(
    known: Int64[Tensor, "N H W"],
    student: Float[Tensor, "V N rows columns K"],
    taught: TaughtPatches,
    views: PairedViews,
    config: CoTAPConfig,
    step: Step,
) -> Ranking:
    """Rank by how alike the pixels are shared out, not by what the teacher says."""
    assert config.views.base_px >= known.shape[-1], "crops are of scenes in their own size"
    rows, columns = taught.foreground.shape[2:]
    shares = shares_of_patches(known, views, (rows, columns)).to(student)
    more = student.shape[-1] - shares.shape[-1]
    assert more >= 0, "there are as many prototypes as categories, or more"
    told = replace(taught, scores=F.pad(shares, (0, more)))  # zeros change no cosine
    return rank_patches(student, told, views, config, step)
