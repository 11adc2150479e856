"""Run a module as a program, and print the most memory that its process held.

    python -m benchmarks.alone MODULE ARGUMENTS

What the operating system tells a parent of a child's peak counts what the parent held itself.
"""

import runpy
import sys

import torch

from patchwise.environment import peak_bytes


def main() -> None:
    """Run, then print MiB on a line of its own."""
    module = sys.argv[1]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__")
    print(peak_bytes(torch.device("cpu")) / 2**20)


if __name__ == "__main__":
    main()
