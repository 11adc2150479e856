"""The search for the nearest images: time beside faiss, memory, and what an inexact search misses.

Vectors are patch features of photographs, of unit length: as many real ones as are wanted. Seconds
are those of the processor, so that other programs count little.

    python -m benchmarks.neighbours WEIGHTS FOLDER --vectors 100000
"""

import argparse
import itertools
import time

import faiss
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measuring import machine, times_in_turn
from patchwise.api import open_subject
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.source import open_source
from patchwise.environment import peak_bytes
from patchwise.features.read import read_features
from patchwise.features.search import nearest_exact
from patchwise.features.transform import Squash
from patchwise.features.vectors import Vectors
from patchwise.index.search import nearest_others

_K, _QUERIES, _SIDE_PX = 7, 4096, 224
CPU = torch.device("cpu")


def patch_vectors(model: str, folder: str, count: int) -> Tensor:
    """Return patch features of the first images of a folder, of unit length."""
    subject, source = open_subject(model), open_source(folder)
    parts: list[Tensor] = []
    for output in read_features(subject, source, Squash(_SIDE_PX)):
        parts.append(F.normalize(output.patches.flatten(0, 1), dim=1).cpu())
        if sum(map(len, parts)) >= count:
            break
    return torch.cat(parts)[:count]


def widened(vectors: Tensor, dim: int) -> Tensor:
    """Return the vectors turned by chance into more dimensions: their cosines stay."""
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0))).Q
    turned: Tensor = vectors @ turn[: vectors.shape[1]]
    return turned


def compare_exact(vectors: Tensor, keys: Vectors) -> None:
    """Print the times of exact search beside those of faiss, in turns."""
    queries, array = vectors[:_QUERIES], vectors.numpy()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(array)
    taken = times_in_turn(
        {
            "ours": lambda: nearest_exact(queries, keys, _K + 1),
            "faiss": lambda: flat.search(array[:_QUERIES], _K + 1),
        },
        rounds=2,
    )
    ours, theirs = taken["ours"].cpu_s, taken["faiss"].cpu_s
    found = nearest_exact(queries, keys, _K + 1).index.numpy()
    same = (found == flat.search(array[:_QUERIES], _K + 1)[1]).mean()
    scale = len(vectors) / len(queries)
    print(
        f"{len(queries)} queries, {len(vectors)} x {vectors.shape[1]}: {ours:.2f} s, faiss "
        f"{theirs:.2f} s, ratio {ours / theirs:.2f}; {same:.2%} alike; "
        f"all with all {scale * ours:.0f} s, faiss {scale * theirs:.0f} s",
        flush=True,
    )


def inexact(keys: Vectors, cells: int, probes: int) -> None:
    """Print time and recall of a search in groups, of all with all."""
    config = NeighboursConfig(k=_K, exact_images=0, cells=cells, probes=probes)

    def quiet(_text: str) -> None:
        return

    began = time.process_time()
    others = nearest_others(keys, config, device=CPU, memory_bytes=2**32, say=quiet)
    took = time.process_time() - began
    print(
        f"{cells} groups, {probes} searched: {took:.1f} s, recall {others.recall:.4f}", flush=True
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--cells", type=int, nargs="*", default=[1024])
    parser.add_argument("--probes", type=int, nargs="*", default=[8, 32, 64])
    options = parser.parse_args()
    print(machine(), flush=True)
    vectors = widened(patch_vectors(options.model, options.folder, options.vectors), options.dim)
    with Vectors(*vectors.shape, memory_bytes=2**34, dtype=torch.float32) as keys:
        keys.write(0, vectors)
        before = peak_bytes(CPU)
        nearest_exact(vectors[:_QUERIES], keys, _K + 1)
        print(f"vectors {vectors.nbytes / 2**20:.0f} MiB; the search adds to the peak of the "
              f"process {(peak_bytes(CPU) - before) / 2**20:.0f} MiB")  # fmt: skip
        compare_exact(vectors, keys)
        for cells, probes in itertools.product(options.cells, options.probes):
            inexact(keys, cells, probes)


if __name__ == "__main__":
    main()
