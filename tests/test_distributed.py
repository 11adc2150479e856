"""On one process, collectives change nothing."""

import torch

from patchwise.distributed import Collectives, OneProcess, gather_rows


def test_one_process_gets_its_own_tensor() -> None:
    collectives: Collectives = OneProcess()
    tensor = torch.arange(6.0).reshape(2, 3)
    for operation in (collectives.sum, collectives.gather, collectives.broadcast):
        assert operation(tensor) is tensor


def test_one_process_is_the_first_and_only_one() -> None:
    assert (OneProcess().rank, OneProcess().size) == (0, 1)


def test_one_process_has_all_rows() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    assert gather_rows(rows, OneProcess()) is rows
