"""Overclustering: pixels counted in one pass against K x C passes, and the memory it needs.

    python -m benchmarks.clusters          # both
    python -m benchmarks.clusters GIB      # the protocol alone, with that much memory allowed

1. Counts: 10 images of 100 x 100 px, K = 500 clusters, C = 21 classes. The published way compares
   all pixels with one cluster and one class at a time, K x C times; both must find the same
   precision of every cluster for every class. Medians of five rounds, both in turn.
2. Memory: as many images as VOC val has, 1,449 of 448 px, 784 patches of 384 channels each from a
   fixed random map of the pixels; all settings as published, but for 2 iterations of one start
   in k-means, which changes the seconds and not the memory. A process of its own for each limit.
"""

import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measuring import machine, run_alone, seconds_in_turn
from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import SegmentationData
from patchwise.eval.baselines import RawPatches
from patchwise.eval.contingency import Contingency
from patchwise.eval.overcluster import Overclustering
from patchwise.features.subject import Subject
from patchwise.models.backbone import BackboneOutput

CLUSTERS, CLASSES, IMAGES, SIDE_PX = 500, 21, 10, 100
VAL_IMAGES, SIZE_PX, CHANNELS = 1_449, 448, 384


def sample_maps(images: int = IMAGES) -> tuple[Tensor, Tensor]:
    """Return clusters and labels; clusters prefer a class; a tenth of the pixels is void."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, (images, SIDE_PX, SIDE_PX))
    clusters = (labels + CLASSES * draw.integers(0, 30, labels.shape)) % CLUSTERS
    labels[draw.random(labels.shape) < 0.1] = IGNORED
    return torch.from_numpy(clusters), torch.from_numpy(labels)


def one_pass(clusters: Tensor, labels: Tensor) -> NDArray[np.float64]:
    table = Contingency(CLUSTERS, CLASSES, ignored=IGNORED)
    table.add_images(clusters, labels)
    counts = table.counts.numpy()
    precision: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return precision


def many_passes(clusters: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Compare all pixels with each cluster and each class."""
    kept = (labels != IGNORED).numpy()
    cluster, label = clusters.numpy()[kept], labels.numpy()[kept]
    precision = np.zeros((CLUSTERS, CLASSES))
    for k in range(CLUSTERS):
        for c in range(CLASSES):
            of_class, inside = label == c, cluster == k
            hits, misses = np.sum(of_class & inside), np.sum(~of_class & inside)
            precision[k, c] = hits / max(hits + misses, 1)
    return precision


def print_counts() -> None:
    maps = sample_maps()
    assert np.allclose(one_pass(*maps), many_passes(*maps)), "both ways must find the same"
    seconds = seconds_in_turn(
        {"one pass": partial(one_pass, *maps), "K x C passes": partial(many_passes, *maps)}
    )
    times = ", ".join(f"{name} {1000 * s:.1f} ms" for name, s in seconds.items())
    ratio = seconds["K x C passes"] / seconds["one pass"]
    print(f"counts of {IMAGES} images: {times}; {ratio:.0f} times as fast", flush=True)


@dataclass(frozen=True)
class Blocks:
    """Images of random blocks, and random classes for them."""

    count: int

    name = "blocks"

    def __len__(self) -> int:
        return self.count

    @property
    def images(self) -> "BlockImages":
        return BlockImages(self)

    def label(self, index: int) -> NDArray[np.uint8]:
        coarse = np.random.default_rng((1, index)).integers(0, CLASSES, (28, 28))
        return coarse.astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return self.images.read(index), self.label(index)

    def fingerprint(self) -> str:
        return repr(self)


@dataclass(frozen=True)
class BlockImages:
    blocks: Blocks

    name = "blocks"

    def __len__(self) -> int:
        return len(self.blocks)

    def read(self, index: int) -> NDArray[np.uint8]:
        coarse = np.random.default_rng((0, index)).integers(0, 256, (112, 112, 3))
        return coarse.astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)

    def describe(self, index: int) -> str:
        return f"image {index}"

    def fingerprint(self) -> str:
        return repr(self)


class Mapped(RawPatches):
    """A fixed random linear map of the pixels of each patch."""

    def __init__(self) -> None:
        super().__init__(16)
        draw = torch.Generator().manual_seed(0)
        self.weight = torch.randn(self.dim, CHANNELS, generator=draw) / self.dim**0.5
        self.dim = CHANNELS

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        patches = super().__call__(images).patches @ self.weight
        side = images.shape[-1] // self.patch_px
        return BackboneOutput(patches.mean(dim=1), patches, (side, side))


def run_protocol(gib: float, images: int = VAL_IMAGES) -> None:
    """Run the protocol once and print its seconds."""
    backbone = Mapped()
    subject = Subject(backbone, backbone.identity, memory_bytes=int(gib * 2**30), batch=16)
    blocks = Blocks(images)
    names = tuple(map(str, range(CLASSES)))
    data = SegmentationData("blocks", names, tuple(range(CLASSES)), None, blocks, blocks)
    protocol = replace(Overclustering("overcluster/leopart"), iterations=2, restarts=1)
    began = time.perf_counter()
    protocol.run(subject, data)
    print(f"{time.perf_counter() - began:.0f} s")


def main() -> None:
    """Print the counts' speed, and the memory with plenty and with little allowed."""
    if len(sys.argv) > 1:
        run_protocol(float(sys.argv[1]))
        return
    print(machine())
    print_counts()
    for gib in (4.0, 0.25):
        peak = run_alone("benchmarks.clusters", [str(gib)])
        print(
            f"{VAL_IMAGES} images, {gib} GiB allowed: peak of the whole process "
            f"{peak.mib / 1024:.2f} GiB, {peak.text}",
            flush=True,
        )


if __name__ == "__main__":
    main()
