"""Search in memories on the disk, one twice as large as the other; print the peaks in MiB.

python -m tests.features.searching_process
"""

import torch
from torch.nn import functional as F

from patchwise.environment import peak_bytes
from patchwise.features.search import nearest_exact
from patchwise.features.vectors import Vectors

DIM, BLOCK = 256, 2**13


def main() -> None:
    values = F.normalize(torch.randn(BLOCK, DIM, generator=torch.Generator().manual_seed(0)), dim=1)
    for count in (2**17, 2**18):  # 64 and 128 MiB
        with Vectors(count, DIM, memory_bytes=0) as keys:
            for first in range(0, count, BLOCK):
                keys.write(first, values)
            nearest_exact(values[:8] + values[8:16], keys, 5)
        print(peak_bytes(torch.device("cpu")) / 2**20)


if __name__ == "__main__":
    main()
