"""Search of in-context evaluation: a plain one in blocks, ours exact, ours approximate.

    python -m benchmarks.incontext --images VOC --model WEIGHTS --vectors 10_240_000

VOC: images and labels as `open_segmentation` reads them. WEIGHTS: a backbone with features of 128
channels. Without them: synthetic scenes, and a backbone that was never trained.

Features of a patch: those of the last three blocks side by side, 3 x 128 channels, of images that
are squashed to 32 x 32 patches. The memory holds the patches of all images to learn from. Where
more are asked for, each further round holds the same patches mixed with a neighbour's, by a part
that grows from round to round up to a half: what crops that are shifted a little would show. The
queries are the 1,024 patches of each of 20 test images.

The plain search is what is done where nothing cleverer is: blocks of 16,384 vectors in float32,
`topk`, and `topk` of what was best so far and what is best now. Its time is the same for every
block; so it is timed on one block in sixteen of the memory, in turn with ours in the same process,
and counted sixteen times; around each approximate search, on four blocks. Seconds are those of the
processor, so that other programs count little. Peaks are of a whole process; the memory itself is
a file which is read, not mapped, so that nothing of it counts but the block at hand.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measuring import machine, run_alone
from patchwise.configs.backbone import ViTConfig
from patchwise.data.segmentation import SegmentationSource, open_segmentation
from patchwise.features.search import Cells, recall
from patchwise.features.transform import Squash
from patchwise.features.vectors import Vectors
from patchwise.models.backbone import prepare
from patchwise.models.vit import ViT
from patchwise.models.weights import load_backbone
from patchwise.ops.nearest import Nearest

SIDE, LAYERS, IMAGES, K = 32, 3, 20, 30  # patches a side, blocks, test images, neighbours
PLAIN_BLOCK, PLAIN_QUERIES, PLAIN_EVERY = 16_384, 1024, 16
CHECKED = 256  # queries whose ranks are compared with brute force
VOC_IMAGES = 1449
Best = tuple[Tensor, Tensor]  # products and numbers, [Q, k]


class PlainSearch:
    """Blocks in float32, topk, and topk of both."""

    def __init__(self, queries: Tensor, k: int) -> None:
        self.parts = list(torch.split(queries, PLAIN_QUERIES))
        self.best: list[Best | None] = [None] * len(self.parts)
        self.k, self.seconds, self.keys = k, 0.0, 0

    def offer(self, keys: Tensor, first: int) -> None:
        start = time.process_time()
        for place, queries in enumerate(self.parts):
            values, index = (queries @ keys.T).topk(min(self.k, len(keys)), dim=1)
            found = (values, index + first)
            before = self.best[place]
            if before is not None:
                values, index = (torch.cat(both, 1) for both in zip(before, found, strict=True))
                top = values.topk(self.k, dim=1)
                found = (top.values, index.gather(1, top.indices))
            self.best[place] = found
        self.seconds += time.process_time() - start
        self.keys += len(keys)

    def found(self) -> Best:
        values, index = zip(*(best for best in self.best if best is not None), strict=True)
        return torch.cat(values), torch.cat(index)


def make_store(folder: Path, images: str, model: str, count: int) -> None:
    """Write ``keys.npy``, float16, and ``queries.npy``."""
    if model:
        backbone = load_backbone(Path(model))
        assert isinstance(backbone, ViT), "its blocks are looked into"
    else:
        torch.manual_seed(0)
        backbone = ViT(ViTConfig(dim=128, depth=6, heads=4, patch_px=8, image_px=256)).eval()
    data = open_segmentation(images or "scenes")
    rows = [features.reshape(-1, features.shape[-1]) for features in look_at(backbone, data.test)]
    np.save(folder / "queries.npy", torch.cat(rows[:IMAGES]).numpy())
    grids = torch.cat([found.half() for found in look_at(backbone, data.fit, all_images=True)])
    dim, once = grids.shape[-1], grids.shape[0] * SIDE * SIDE
    keys = np.lib.format.open_memmap(folder / "keys.npy", "w+", np.float16, (count, dim))
    rounds = -(-count // once)
    shifts = [(0, 1), (1, 0), (1, 1), (0, -1), (-1, 0), (-1, -1), (1, -1), (-1, 1)]
    for number in range(rounds):
        part = 0.5 * number / max(1, rounds - 1)
        first = number * once
        for image, grid in enumerate(grids):
            at = first + image * SIDE * SIDE
            if at >= count:
                break
            beside = grid.float().roll(shifts[number % len(shifts)], dims=(0, 1))
            mixed = F.normalize((1 - part) * grid.float() + part * beside, dim=-1).reshape(-1, dim)
            keys[at : at + len(mixed)] = mixed[: count - at].half().numpy()
    keys.flush()
    print(f"{count:,} x {dim}: {once:,} patches of {len(grids)} images, {rounds} rounds")


@torch.no_grad()
def look_at(
    backbone: ViT, source: SegmentationSource, *, all_images: bool = False
) -> Iterator[Tensor]:
    """Yield the features of each image, [1, side, side, D], of unit length."""
    seen: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda *passed: seen.append(passed[-1][:, -(SIDE**2) :]))
        for block in list(backbone.blocks)[-LAYERS:]
    ]
    transform = Squash(SIDE * backbone.patch_px)
    for index in range(len(source) if all_images else IMAGES):
        pixels = torch.from_numpy(transform(source.images.read(index))).movedim(-1, 0)[None]
        backbone(prepare(backbone, pixels))
        yield F.normalize(torch.cat(seen, dim=-1), dim=-1).reshape(1, SIDE, SIDE, -1)
        seen.clear()
    for hook in hooks:
        hook.remove()


def read_store(folder: Path) -> tuple[Tensor, Vectors]:
    """Return the queries, and the memory as in-context evaluation keeps it: in a file."""
    queries = torch.from_numpy(np.load(folder / "queries.npy"))
    stored = np.load(folder / "keys.npy", mmap_mode="r")
    count, dim = stored.shape
    offset = stored.offset
    keys = Vectors(count, dim, memory_bytes=0)
    with (folder / "keys.npy").open("rb") as file:  # read, not mapped
        file.seek(offset)
        for first in range(0, count, keys.block):
            length = min(keys.block, count - first)
            block = np.fromfile(file, np.float16, length * dim).reshape(length, dim)
            keys.write(first, torch.from_numpy(block).float())
    return queries, keys


def search_exactly(folder: Path) -> None:
    """Print seconds of ours and of the plain search; save what was found; check ranks."""
    queries, keys = read_store(folder)
    spread = torch.linspace(0, len(queries) - 1, CHECKED).long()
    ours, plain, brute = (
        Nearest(queries, K),
        PlainSearch(queries, K),
        PlainSearch(queries[spread], K),
    )
    seconds = 0.0
    with keys:
        for number, first in enumerate(range(0, len(keys), PLAIN_BLOCK)):
            start = time.process_time()
            block = keys.read(first, min(first + PLAIN_BLOCK, len(keys)))
            ours.offer(block, torch.arange(first, first + len(block)))
            seconds += time.process_time() - start
            brute.offer(block, first)
            if number % PLAIN_EVERY == 0:
                plain.offer(block, first)
    np.save(folder / "exact.npy", ours.index.numpy())
    values, index = brute.found()
    own_values, own = ours.values[spread], ours.index[spread]
    apart = (own_values - values).abs()[own != index]
    print(
        f"ranks: {float((own == index).double().mean()):.6f} of {own.numel()} as by brute force in "
        f"float32; the others' products differ by {float(apart.max()) if len(apart) else 0:.1e} "
        f"at most"
    )
    print(f"{plain.seconds * len(keys) / plain.keys} {seconds}")


def search_nearly(folder: Path, cells: int, probes: list[int]) -> None:
    """Print seconds of the build, then of searches and of the plain search in turn with them."""
    queries, keys = read_store(folder)
    exact = torch.from_numpy(np.load(folder / "exact.npy"))
    with keys:
        start = time.process_time()
        with Cells.build(keys, cells, seed=0, device=torch.device("cpu"), memory_bytes=0) as made:
            print(time.process_time() - start)
            for number, probed in enumerate(probes):
                plain = PlainSearch(queries, K)
                for first in (number * PLAIN_BLOCK, len(keys) // 2):
                    plain.offer(keys.read(first, min(first + PLAIN_BLOCK, len(keys))), first)
                start = time.process_time()
                found = made.nearest(queries, K, probes=probed)
                seconds = time.process_time() - start
                for first in (len(keys) // 4, 3 * len(keys) // 4):
                    plain.offer(keys.read(first, min(first + PLAIN_BLOCK, len(keys))), first)
                whole = plain.seconds * len(keys) / plain.keys
                print(probed, whole, seconds, recall(found.index, exact))


def show(name: str, seconds: float, plain: float, mib: float, more: str) -> None:
    full = seconds * VOC_IMAGES / IMAGES / 3600
    print(
        f"{name:>20}{seconds:10.1f} s{plain / seconds:8.1f} times{mib:9.0f} MiB"
        f"{full:8.2f} h for {VOC_IMAGES:,} images  {more}",
        flush=True,
    )


def main() -> None:
    """Make the memory, then measure each search in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=4096)
    parser.add_argument("--probes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--store", type=Path, help="a folder that is kept and used again")
    parser.add_argument("--part", choices=["make", "exact", "nearly"])
    chosen = parser.parse_args()
    if chosen.part == "make":
        make_store(chosen.store, chosen.images, chosen.model, chosen.vectors)
    elif chosen.part == "exact":
        search_exactly(chosen.store)
    elif chosen.part == "nearly":
        search_nearly(chosen.store, chosen.cells, chosen.probes)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            measure(chosen, chosen.store or Path(temporary))


def measure(chosen: argparse.Namespace, folder: Path) -> None:
    print(machine())
    own = ["--store", str(folder), "--vectors", str(chosen.vectors)]
    own += ["--cells", str(chosen.cells), "--probes", *map(str, chosen.probes)]
    if not (folder / "keys.npy").exists():
        given = ["--images", chosen.images, "--model", chosen.model]
        print(run_alone("benchmarks.incontext", [*own, *given, "--part", "make"]).text)
    peak = run_alone("benchmarks.incontext", [*own, "--part", "exact"])
    ranks, _, times = peak.text.rpartition("\n")
    plain, seconds = map(float, times.split())
    show("plain", plain, plain, 0, "(one block in sixteen)")
    show("exact", seconds, plain, peak.mib, ranks)
    peak = run_alone("benchmarks.incontext", [*own, "--part", "nearly"])
    built, *searches = peak.text.splitlines()
    print(f"{chosen.cells} cells, built in {float(built):.0f} s")
    for line in searches:
        probed, *numbers = line.split()
        plain, seconds, reached = map(float, numbers)
        show(f"{probed} cells", seconds, plain, peak.mib, f"recall {reached:.5f}")


if __name__ == "__main__":
    main()
