"""Sinkhorn and the dense swapped prediction of a CoTAP step: time and memory.

    python -m benchmarks.assignments

A step of ViT-S/16 on one process: 112 images x (2 x 224 + 4 x 96 px), 512 prototypes, 65,536
earlier scores. Sinkhorn stands beside the form in which it is usually written: exponentials of the
whole matrix, scaled three times. The loss is that of all ten pairs of crops, forward and backward.
Medians of five rounds; memory above that of a process which holds the inputs and room for their
gradients, each in a process of its own.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measuring import ROUNDS, machine, run_alone, seconds_in_turn
from patchwise.losses.dense_swapped_prediction import (
    SharedRegion,
    cell_weights,
    dense_swapped_prediction_loss,
)
from patchwise.ops.foreground import foreground_cells
from patchwise.ops.overlap import overlap_boxes
from patchwise.ops.sinkhorn import sinkhorn

IMAGES, PROTOTYPES, QUEUED, TEMPERATURE = 112, 512, 65_536, 0.05
GLOBALS, LOCALS, CELLS = 2, 4, (6, 6)
PATCHES = (14,) * GLOBALS + (6,) * LOCALS  # along a side of each crop
PAIRS = [(g, v) for g in range(GLOBALS) for v in range(GLOBALS + LOCALS) if v != g]

Act = Callable[["Inputs"], object]


class Inputs:
    """Random scores, crops and masks, with room for gradients."""

    def __init__(self, images: int = IMAGES, queued: int = QUEUED) -> None:
        torch.manual_seed(0)
        side = PATCHES[0]
        self.scores = _scores(GLOBALS, images, side, side)
        self.queue = _scores(queued)
        self.student = [_scores(images, side, side).requires_grad_() for side in PATCHES]
        for leaf in self.student:
            leaf.grad = torch.zeros_like(leaf)
        self.foreground = torch.rand(GLOBALS, images, side, side) < 0.9
        self.crops = []  # those of all sizes hold the middle of an image of 100 x 100 pixels
        for patches in PATCHES:
            extent = torch.randint(60, 90, (images, 2)) * patches // PATCHES[0]
            self.crops.append(torch.cat([(100 - extent) // 2, extent], dim=1))


def _scores(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, PROTOTYPES), dim=-1)


def ours(inputs: Inputs) -> Tensor:
    """Assign by the library's Sinkhorn."""
    return sinkhorn(inputs.scores.flatten(0, 3), inputs.queue, temperature=TEMPERATURE)


def plain(inputs: Inputs) -> Tensor:
    """Assign by scaling the matrix of exponentials."""
    scores = torch.cat([inputs.scores.flatten(0, 3), inputs.queue])
    shares = torch.exp(scores / TEMPERATURE)
    shares /= shares.sum()
    for _ in range(3):
        shares /= shares.sum(dim=0, keepdim=True)
        shares /= shares.shape[1]
        shares /= shares.sum(dim=1, keepdim=True)
        shares /= len(shares)
    return (shares * len(shares))[: inputs.scores.flatten(0, 3).shape[0]]


def loss(inputs: Inputs) -> Tensor:
    """Backward the loss of all pairs of crops; the teacher's scores stand for assignments."""
    sizes = [(side, side) for side in PATCHES]
    boxes = [
        overlap_boxes(inputs.crops[g], inputs.crops[v], size_a=sizes[g], size_b=sizes[v])
        for g, v in PAIRS
    ]
    cells = [
        foreground_cells(inputs.foreground[g], teacher, CELLS)
        for (g, _), (teacher, _) in zip(PAIRS, boxes, strict=True)
    ]
    total = torch.zeros(())
    for (g, v), place, weight in zip(PAIRS, boxes, cell_weights(cells), strict=True):
        region = SharedRegion(*place, weight)
        total = total + dense_swapped_prediction_loss(inputs.student[v], inputs.scores[g], region)
    total.backward()  # type: ignore[no-untyped-call]
    return total.detach()


def nothing(inputs: Inputs) -> Tensor:
    """Hold the inputs."""
    return inputs.queue


ACTS: dict[str, Act] = {"ours": ours, "plain": plain, "loss": loss, "nothing": nothing}


def main() -> None:
    """Print a table, or run one part alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", choices=ACTS)
    alone = parser.parse_args().alone
    if alone:
        inputs = Inputs()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            ACTS[alone](inputs)
            times.append(time.perf_counter() - start)
        print(statistics.median(times))
        return
    print(machine())
    peaks = {name: run_alone("benchmarks.assignments", ["--alone", name]).mib for name in ACTS}
    inputs = Inputs()
    acts = {name: functools.partial(ACTS[name], inputs) for name in ACTS if name != "nothing"}
    for name, seconds in seconds_in_turn(acts, rounds=ROUNDS).items():
        print(
            f"{name:>8}{seconds:8.2f} s{peaks[name] - peaks['nothing']:8.0f} MiB more", flush=True
        )


if __name__ == "__main__":
    main()
