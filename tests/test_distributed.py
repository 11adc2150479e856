"""On one process, collectives change nothing."""

import torch

from patchwise.distributed import Collectives, OneProcess


def test_one_process_gets_its_own_tensor() -> None:
    collectives: Collectives = OneProcess()
    tensor = torch.arange(6.0).reshape(2, 3)
    for operation in (collectives.sum, collectives.gather, collectives.broadcast):
        assert operation(tensor) is tensor
