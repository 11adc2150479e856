"""How the benchmarks measure: variants in turn, medians of five rounds, peak memory of processes.

Other programs slow all variants of a round alike, so that ratios of medians stay when times do not.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

ROUNDS = 5


@dataclass(frozen=True)
class Peak:
    """What a process of its own printed, and the most memory it held."""

    text: str
    mib: float


@dataclass(frozen=True)
class Times:
    """Medians of a variant's rounds."""

    wall_s: float
    cpu_s: float  # of this process, whatever else ran on the machine


def machine() -> str:
    """Return processor, threads and versions on one line."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            named = (line.partition(":")[2].strip() for line in lines if "model name" in line)
            name = next(named, name)
    return (
        f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def seconds_in_turn(
    variants: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS
) -> dict[str, float]:
    """Time each variant once a round; return medians. A first round, not counted, warms up."""
    return {name: times.wall_s for name, times in times_in_turn(variants, rounds=rounds).items()}


def times_in_turn(
    variants: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS
) -> dict[str, Times]:
    """Do what `seconds_in_turn` does; return processor times too."""
    taken: dict[str, list[Times]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            taken[name].append(Times(time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Times(
            statistics.median(each.wall_s for each in times[1:]),
            statistics.median(each.cpu_s for each in times[1:]),
        )
        for name, times in taken.items()
    }


def run_alone(module: str, arguments: Sequence[str]) -> Peak:
    """Run ``python -m module arguments`` in a process of its own; raise if it fails."""
    command = [sys.executable, "-m", "benchmarks.alone", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    text, _, peak = done.stdout.rstrip("\n").rpartition("\n")
    return Peak(text, float(peak))
