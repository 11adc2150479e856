"""A step of the convolutional head, a few images at a time and in one piece.

    python -m benchmarks.head_step [BATCH]

The set-up: random features of ViT-S/16 at 336 px, labels of 448 px with 21 classes, the published
widths, 16 images unless told otherwise (128, as published, take about 23 GiB in one piece). Seconds
are those of the processor, both ways in turn in one process; memory is the most that a process of
its own held for one step, torch with it.
"""

import sys
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring import machine, run_alone, times_in_turn
from patchwise.eval.fcn import FCNSegmentation
from patchwise.eval.heads import UpsamplingHead, draw_head
from patchwise.eval.segmentation_training import PixelLoss
from patchwise.eval.upsampling_step import add_gradients

DIM, GRID, LABEL_PX, CLASSES = 384, 21, 448, 21
MEMORY_BYTES = {"on the disk": 0, "a few at a time": 2**40}
WHOLE = "in one piece"


class Step:
    """The features and labels of a batch, and a head that learns from them."""

    def __init__(self, batch: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.features = torch.randn(batch, GRID, GRID, DIM, generator=draw)
        shape = (batch, LABEL_PX, LABEL_PX)
        labels = torch.randint(CLASSES, shape, generator=draw, dtype=torch.uint8)
        self.loss = PixelLoss(labels)
        made = draw_head(
            lambda: FCNSegmentation("p").make_head(DIM, CLASSES), 0, device=torch.device("cpu")
        )
        assert isinstance(made, UpsamplingHead)
        self.head = made.train()

    def run(self, way: str) -> None:
        self.head.zero_grad()
        if way == WHOLE:
            scores: Tensor = self.head(self.features)
            self.loss.backward(scores, 0)
        else:
            add_gradients(
                self.head, self.features, self.loss.backward, memory_bytes=MEMORY_BYTES[way]
            )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        Step(int(sys.argv[3])).run(sys.argv[2])
        return
    batch = sys.argv[1] if len(sys.argv) > 1 else "16"
    print(f"{machine()}, batch {batch}")
    step = Step(int(batch))
    ways = [*MEMORY_BYTES, WHOLE]
    times = times_in_turn({way: partial(step.run, way) for way in ways}, rounds=2)
    for way in ways:
        peak = run_alone("benchmarks.head_step", ["--one", way, batch])
        print(f"{way}: {times[way].cpu_s:.1f} s, {peak.mib / 1024:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
