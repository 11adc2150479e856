"""Which cells of similar images CoTAP's ranking loss compares, and how similar they are.

Letters: B images, V views of each, K prototypes, C cells kept of an image, R strangers of each.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape, check_within
from patchwise.distributed import Collectives
from patchwise.errors import RangeError
from patchwise.randomness import random_order

_MOST_TRIES = 200  # of a derangement: one in e succeeds, so that not one run in 10^39 gets here


@dataclass(frozen=True)
class Cells:
    """Cells of some images, as student and teacher see them."""

    student: Float[Tensor, "B C K"]  # scores
    teacher: Float[Tensor, "B C K"]
    kept: Bool[Tensor, "B C"] | None = None  # whether a cell is compared with others; None: all are

    def of(self, images: slice) -> "Cells":
        """Return the cells of some of the images."""
        kept = None if self.kept is None else self.kept[images]
        return Cells(self.student[images], self.teacher[images], kept)

    def gather(self, collectives: Collectives) -> "Cells":
        """Return the cells of the images of all processes; gradients flow back."""
        kept = self.kept
        if kept is not None:
            kept = collectives.gather(kept.to(self.teacher.dtype)) > 0
        return Cells(collectives.gather(self.student), collectives.gather(self.teacher), kept)


@dataclass(frozen=True)
class CellPairs:
    """Lists for `patchwise.losses.cotap.cotap_loss`."""

    prediction: Float[Tensor, " n"]  # the student's cosines
    target: Float[Tensor, " n"]  # the teacher's, without gradient
    match: Bool[Tensor, " n"]  # whether both cells are of an image and its own neighbour

    @classmethod
    def compare(
        cls, images: Cells, neighbours: Cells, strangers: Int[Tensor, "R B"]
    ) -> "CellPairs":
        """Compare all cells of an image with all of its neighbour, and of R other neighbours.

        Args:
            images: Cells of the images.
            neighbours: Of the neighbour of image i at place i.
            strangers: For each image, whose neighbours it does not match; see `derangements`.

        Returns:
            B C^2 (1 + R) pairs, if all cells are kept: first those that match.
        """
        check_shape("CellPairs.compare", (None, len(images.student)), strangers=strangers)
        own = torch.arange(strangers.shape[1], device=strangers.device)[None]
        partners = torch.cat([own, strangers])  # [1 + R, B]
        prediction = _cosines(images.student, neighbours.student, partners)
        with torch.no_grad():
            target = _cosines(images.teacher, neighbours.teacher, partners)
        match = torch.zeros_like(target, dtype=torch.bool)
        match[0] = True
        if images.kept is None or neighbours.kept is None:
            # Nothing is picked out: a GPU would be waited for.
            return cls(prediction.flatten(), target.flatten(), match.flatten())
        kept = images.kept[:, :, None] & neighbours.kept[partners][:, :, None]  # [1 + R, B, C, C]
        return cls(prediction[kept], target[kept], match[kept])


def pool_cells(maps: Float[Tensor, "V B H W K"], side: int) -> Float[Tensor, "B cells K"]:
    """Average each map in side x side cells that cover it; an image's cells view after view."""
    check_positive("pool_cells", side=side)
    views, images, rows, columns, channels = maps.shape
    if min(rows, columns) < side:
        raise RangeError(
            f"pool_cells: side must be at most that of the map, got {side} for {rows} x {columns} "
            f"patches"
        )
    pooled = F.adaptive_avg_pool2d(maps.flatten(0, 1).permute(0, 3, 1, 2), side)
    cells = pooled.flatten(2).mT.reshape(views, images, side * side, channels)
    return cells.transpose(0, 1).flatten(1, 2)


@torch.no_grad()
def choose_cells(
    mass: Float[Tensor, "B cells"], uniform: Float[Tensor, "B cells"], count: int
) -> Int[Tensor, "B C"]:
    """Return the ``count`` cells of each image with the largest foreground mass.

    Args:
        mass: Share of each cell that is foreground; see `pool_cells`.
        uniform: Random numbers in [0, 1), which decide between equal cells.
        count: C; at most as many as there are cells.

    >>> choose_cells(torch.tensor([[0.5, 1.0, 0.5]]), torch.tensor([[0.1, 0.0, 0.9]]), 2).tolist()
    [[1, 2]]
    """
    check_within("choose_cells", 1, mass.shape[1], count=count)
    shuffled = uniform.argsort(dim=1, descending=True, stable=True)
    order = mass.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order[:, :count])


def derangements(count: int, images: int, *key: int) -> NDArray[np.int64]:
    """Return random permutations of the images that leave none in its place.

    Args:
        count: How many, R; each is drawn on its own.
        images: B; with one alone there is none.
        key: Of the draws; equal keys give equal permutations.

    Returns:
        [R, B], each equally likely among all such permutations; [0, 1] for one image.

    >>> derangements(2, 2, 7).tolist()
    [[1, 0], [1, 0]]
    """
    check_positive("derangements", count=count, images=images)
    if images == 1:
        return np.empty((0, 1), dtype=np.int64)
    return np.stack([_derangement(images, *key, number) for number in range(count)])


def _derangement(images: int, *key: int) -> NDArray[np.int64]:
    for attempt in range(_MOST_TRIES):
        order = random_order(images, *key, attempt)
        if (order != np.arange(images)).all():
            return order
    return np.roll(np.arange(images), 1)


def take_cells(
    cells: Float[Tensor, "B cells K"], chosen: Int[Tensor, "B C"]
) -> Float[Tensor, "B C K"]:
    """Return some cells of each image."""
    return cells.gather(1, chosen[:, :, None].expand(-1, -1, cells.shape[2]))


def _cosines(
    a: Float[Tensor, "B C K"], b: Float[Tensor, "B C K"], partners: Int[Tensor, "P B"]
) -> Float[Tensor, "P B C C"]:
    """Return the cosine of each cell of image i with each of b's image partners[p, i].

    In float32 at least, under autocast too: in half precision there would be a few hundred
    different ones, and what is to be ranked would be tied.
    """
    full = torch.promote_types(a.dtype, torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        first, second = (F.normalize(cells.to(full), dim=-1) for cells in (a, b))
        return first @ second[partners].mT
