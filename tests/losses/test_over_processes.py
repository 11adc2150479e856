"""Assignments and swapped prediction on two processes: those of one with the joined batch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from patchwise.distributed import Collectives, OneProcess
from patchwise.losses.dense_swapped_prediction import (
    SharedRegion,
    cell_weights,
    dense_swapped_prediction_loss,
)
from patchwise.losses.prototype_entropy import prototype_entropy_loss
from patchwise.losses.swapped_prediction import swapped_prediction_loss
from patchwise.ops.foreground import foreground_cells
from patchwise.ops.sinkhorn import sinkhorn
from patchwise.training.engine import FabricCollectives

IMAGES, SIDE, CHANNELS, K = 4, 7, 6, 5
QUEUED = 11  # rows, of which the first process holds 3
OTHERS = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.float64)


@dataclass(frozen=True)
class Part:
    """Two crops of some images, as teacher and student see them; some of the queue."""

    features: Tensor  # [2, B, SIDE, SIDE, CHANNELS]
    scores: Tensor  # the teacher's [2, B, SIDE, SIDE, K]
    foreground: Tensor  # [2, B, SIDE, SIDE]
    boxes: Tensor  # of the shared place in each crop [2, B, 4]
    queue: Tensor

    def cut(self, images: slice, queued: slice) -> "Part":
        return Part(
            features=self.features[:, images],
            scores=self.scores[:, images],
            foreground=self.foreground[:, images],
            boxes=self.boxes[:, images],
            queue=self.queue[queued],
        )


def whole_batch() -> Part:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    extent = 2 + 5 * draw(2, IMAGES, 2)
    return Part(
        features=draw(2, IMAGES, SIDE, SIDE, CHANNELS) - 0.5,
        scores=2 * draw(2, IMAGES, SIDE, SIDE, K) - 1,
        # Images differ much in how much of them is foreground.
        foreground=draw(2, IMAGES, SIDE, SIDE) < torch.linspace(0.5, 1, IMAGES)[:, None, None],
        boxes=torch.cat([draw(2, IMAGES, 2) * (SIDE - extent), extent], dim=-1),
        queue=2 * draw(QUEUED, K) - 1,
    )


def compute(part: Part, collectives: Collectives) -> dict[str, Tensor]:
    """The losses of one process, and the gradient of what all processes train."""
    generator = torch.Generator().manual_seed(1)
    head = torch.randn(CHANNELS, K, generator=generator, dtype=torch.float64).requires_grad_()
    student = part.features @ head
    rows = part.scores.flatten(0, 3)
    target = sinkhorn(rows, part.queue, temperature=0.05, collectives=collectives)
    target = target.reshape(part.scores.shape)
    pairs = [(0, 1), (1, 0)]
    cells = [foreground_cells(part.foreground[g], part.boxes[g], (3, 3)) for g, _ in pairs]
    weights = cell_weights(cells, collectives=collectives)
    dense = sum(
        dense_swapped_prediction_loss(
            student[v], target[g], SharedRegion(part.boxes[g], part.boxes[v], weight)
        )
        for (g, v), weight in zip(pairs, weights, strict=True)
    )
    pooled = part.scores.mean(dim=(2, 3))
    image_target = sinkhorn(
        pooled.flatten(0, 1), part.queue, temperature=0.07, collectives=collectives
    )
    image = swapped_prediction_loss(
        student.mean(dim=(2, 3)), image_target.reshape(pooled.shape), OTHERS
    )
    samples = collectives.gather(part.features[0, :, :3, :3].movedim(-1, 1).contiguous())
    entropy = prototype_entropy_loss(head.mT[..., None, None].expand(K, CHANNELS, 3, 3), samples)
    losses = {"dense": torch.as_tensor(dense), "image": image, "entropy": entropy}
    gradients = {
        f"{name}_gradient": torch.autograd.grad(loss, head, retain_graph=True)[0]
        for name, loss in losses.items()
    }
    values = {name: loss.detach() for name, loss in losses.items()}
    return {**values, **gradients, "cells": torch.tensor([float(c.sum()) for c in cells])}


def compute_part(fabric: Fabric, folder: Path) -> None:
    """What each of two processes does."""
    first = fabric.global_rank == 0
    images = slice(0, 2) if first else slice(2, 4)
    queued = slice(0, 3) if first else slice(3, QUEUED)
    collectives = FabricCollectives(fabric)
    found = compute(whole_batch().cut(images, queued), collectives)
    rows = whole_batch().scores[0, 0, :, 0]  # [7, K], of which one process holds none
    own = rows[:0] if first else rows
    found["uneven"] = sinkhorn(own, temperature=0.05, collectives=collectives)
    torch.save(found, folder / f"{fabric.global_rank}.pt")
    fabric.barrier()
    torch.distributed.destroy_process_group()  # its threads may else outlive what they use


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("parts")
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    fabric.launch(cast(Any, compute_part), folder)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_the_mean_of_two_processes_is_one_with_the_joined_batch(
    parts: list[dict[str, Tensor]],
) -> None:
    whole = compute(whole_batch(), OneProcess())
    for name in ("dense", "image", "entropy"):
        for value in (name, f"{name}_gradient"):
            mean = (parts[0][value] + parts[1][value]) / 2
            torch.testing.assert_close(mean, whole[value], rtol=1e-9, atol=1e-12)
            assert whole[value].abs().max() > 0.01


def test_processes_may_have_rows_or_not(parts: list[dict[str, Tensor]]) -> None:
    rows = whole_batch().scores[0, 0, :, 0]
    assert len(parts[0]["uneven"]) == 0
    torch.testing.assert_close(parts[1]["uneven"], sinkhorn(rows, temperature=0.05))


def test_the_parts_are_uneven(parts: list[dict[str, Tensor]]) -> None:
    """Else a mean of means would do."""
    first, second = (part["cells"] for part in parts)
    assert (first > 0).all()
    assert (second > 1.5 * first).all()
