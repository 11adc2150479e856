"""CoTAP's ranking loss by the number of pairs: ours beside all pairs in a matrix.

    python -m benchmarks.ranking [--charts docs/growth]

Forward and backward in float32; the plain one, whose float64 would take twice the memory, is as
its formula reads. Medians of five rounds, both in turn within each; memory above that of a process
which holds the inputs, each in a process of its own. With more threads than idle cores PyTorch's
threads wait for each other: then set OMP_NUM_THREADS=1, and look at processor seconds.
"""

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.growth import draw, straightness
from benchmarks.measuring import Times, machine, run_alone, times_in_turn
from benchmarks.plain_ranking import plain_cotap_loss
from patchwise.losses.cotap import cotap_loss

SIZES = (1_050, 4_200, 8_400, 100_000, 250_000, 500_000, 1_000_000)
MOST_OF_PLAIN = 8_400  # pairs, beyond which matrices take gigabytes
ROUNDS, ROUNDS_OF_MANY = 5, 3
GPU_PAIRS = 1_000_000
LOSSES: dict[str, Callable[..., Tensor]] = {"ours": cotap_loss, "plain": plain_cotap_loss}


def draw_pairs(count: int, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions, targets and matches as they may be half-way through training."""
    generator = torch.Generator().manual_seed(0)
    target, noise = (torch.rand(2, count, generator=generator) * 2 - 1).unbind()
    match = torch.rand(count, generator=generator) < 1 / 6
    prediction = (0.5 * target + 0.5 * noise).to(device)
    return prediction.requires_grad_(), target.to(device), match.to(device)


def run(name: str, pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    """Go forward and backward once; "nothing" does neither."""
    pairs[0].grad = None
    if name != "nothing":
        LOSSES[name](*pairs).backward()  # type: ignore[no-untyped-call]


def measure(count: int) -> tuple[dict[str, Times], dict[str, float]]:
    """Return the times, and MiB of whole processes, of what is run with ``count`` pairs."""
    names = [name for name in LOSSES if name == "ours" or count <= MOST_OF_PLAIN]
    mib = {
        name: run_alone("benchmarks.ranking", ["--alone", name, str(count)]).mib
        for name in [*names, "nothing"]
    }
    pairs = draw_pairs(count)
    rounds = ROUNDS if count <= MOST_OF_PLAIN else ROUNDS_OF_MANY
    acts = {name: functools.partial(run, name, pairs) for name in names}
    return times_in_turn(acts, rounds=rounds), mib


def milliseconds_on_gpu() -> float:
    """Return the median of five rounds with `GPU_PAIRS` pairs."""
    pairs, taken = draw_pairs(GPU_PAIRS, "cuda"), []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run("ours", pairs)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 1e3 * sorted(taken[1:])[ROUNDS // 2]


def print_table() -> tuple[list[float], list[float]]:
    """Print a line a size and loss; return processor seconds and MiB of ours."""
    seconds, more = [], []
    print(f"{'pairs':>10}{'':>7}{'s':>10}{'cpu s':>10}{'MiB more':>10}{'MiB':>8}")
    for count in SIZES:
        times, mib = measure(count)
        for name, taken in times.items():
            extra = mib[name] - mib["nothing"]
            print(f"{count:10,}{name:>7}{taken.wall_s:10.4f}{taken.cpu_s:10.4f}"
                  f"{extra:10.1f}{mib[name]:8.0f}", flush=True)  # fmt: skip
        seconds.append(times["ours"].cpu_s)
        more.append(mib["ours"] - mib["nothing"])
        if "plain" in times:
            ratio = times["plain"].cpu_s / times["ours"].cpu_s
            less = (mib["plain"] - mib["nothing"]) / max(more[-1], 1.0)
            print(f"{'':10}plain / ours: time {ratio:.1f}, memory {less:.1f}")
    return seconds, more


def main() -> None:
    """Print a table, or run one loss alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", nargs=2, metavar=("LOSS", "PAIRS"))
    parser.add_argument("--charts", type=Path, help="folder for an SVG of time and one of memory")
    arguments = parser.parse_args()
    if arguments.alone:
        run(arguments.alone[0], draw_pairs(int(arguments.alone[1])))
        return
    print(machine())
    seconds, more = print_table()
    values = [float(count) for count in SIZES]
    print(f"R^2 of a straight line: time {straightness(values, seconds):.4f}, "
          f"memory {straightness(values, more):.4f}")  # fmt: skip
    if torch.cuda.is_available():
        print(f"{GPU_PAIRS:,} pairs on a GPU: {milliseconds_on_gpu():.1f} ms")
    if arguments.charts:
        folder: Path = arguments.charts
        draw(folder / "pairs-time.svg", "pairs", "processor seconds", values, seconds)
        draw(folder / "pairs-memory.svg", "pairs", "MiB more", values, more)


if __name__ == "__main__":
    main()
