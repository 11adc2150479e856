"""On one process, collectives change nothing."""

import torch

from patchwise.distributed import Collectives, OneProcess


def test_the_sum_over_one_process_is_the_tensor() -> None:
    collectives: Collectives = OneProcess()
    tensor = torch.arange(6.0).reshape(2, 3)
    assert collectives.sum(tensor) is tensor
