"""What Fabric is set up to be."""

import types
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric

from patchwise.distributed import Collectives, gather_rows
from patchwise.errors import ConfigError
from patchwise.training.engine import FabricCollectives, build_fabric


def test_it_is_one_process_on_the_device() -> None:
    fabric = build_fabric("cpu", "float32")
    assert fabric.device == torch.device("cpu")
    assert fabric.world_size == 1


def test_precision_is_that_of_the_products_and_not_of_the_weights() -> None:
    layer = torch.nn.Linear(3, 2)
    for precision, dtype in [("float32", torch.float32), ("bf16", torch.bfloat16)]:
        fabric = build_fabric("cpu", cast(Any, precision))
        with fabric.autocast():
            out = layer(torch.ones(1, 3))
        assert out.dtype == dtype
        assert layer.weight.dtype == torch.float32


def test_one_process_gets_its_own_tensor() -> None:
    collectives: Collectives = FabricCollectives(build_fabric("cpu", "float32"))
    tensor = torch.arange(6.0).reshape(2, 3)
    for operation in (collectives.sum, collectives.gather, collectives.broadcast):
        torch.testing.assert_close(operation(tensor.clone()), tensor, rtol=0, atol=0)


def use_collectives(fabric: Fabric, folder: Path) -> None:
    """What each of two processes does; rank r holds [[r + 1, 0], [r + 1, 1]]."""
    collectives = FabricCollectives(fabric)
    own = torch.tensor([[fabric.global_rank + 1.0, place] for place in (0, 1)], requires_grad=True)
    everyone = collectives.gather(own)
    weight = torch.tensor([[1.0], [2.0], [3.0], [4.0]]) * (fabric.global_rank + 1)
    (everyone * weight).sum().backward()  # type: ignore[no-untyped-call]
    found = {
        "sum": collectives.sum(own.detach().clone()),
        "broadcast": collectives.broadcast(own),
        "gather": everyone,
        "gradient": own.grad,
        "who": torch.tensor([collectives.rank, collectives.size]),
        "none": gather_rows(own[:0], collectives),
    }
    for name, counts in {"uneven": (3, 1), "one has none": (0, 2), "even": (2, 2)}.items():
        rows = (
            torch.arange(2.0 * counts[collectives.rank]).reshape(-1, 1, 2) + 10 * collectives.rank
        )
        rows.requires_grad_()
        together = gather_rows(rows, collectives)
        weight = torch.arange(len(together))[:, None, None] * (collectives.rank + 1)
        (together * weight).sum().backward()  # type: ignore[no-untyped-call]
        found |= {name: together, f"{name}, gradient": rows.grad}
    torch.save(found, folder / f"{fabric.global_rank}.pt")
    fabric.barrier()
    torch.distributed.destroy_process_group()  # its threads may else outlive what they use


def test_two_processes_share_what_they_hold(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    fabric.launch(cast(Any, use_collectives), tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    held = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    for found in (first, second):
        torch.testing.assert_close(found["gather"].detach(), held)
        torch.testing.assert_close(found["sum"], torch.tensor([[3.0, 0.0], [3.0, 2.0]]))
        torch.testing.assert_close(found["broadcast"], held[:2])
        assert found["none"].shape == (0, 2)
    assert (first["who"].tolist(), second["who"].tolist()) == ([0, 2], [1, 2])
    # A part's gradient is the sum of what all processes make of it: weights 1 + 2 = 3 times.
    torch.testing.assert_close(first["gradient"], torch.tensor([[3.0, 3.0], [6.0, 6.0]]))
    torch.testing.assert_close(second["gradient"], torch.tensor([[9.0, 9.0], [12.0, 12.0]]))

    for name, (mine, others) in {"uneven": (3, 1), "one has none": (0, 2), "even": (2, 2)}.items():
        values = [torch.arange(2.0 * mine), torch.arange(2.0 * others) + 10]
        for found in (first, second):
            torch.testing.assert_close(found[name], torch.cat(values).reshape(-1, 1, 2))
        weights = 3.0 * torch.arange(mine + others)[:, None, None].expand(-1, 1, 2)
        torch.testing.assert_close(first[f"{name}, gradient"], weights[:mine])
        torch.testing.assert_close(second[f"{name}, gradient"], weights[mine:])


def test_building_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    build_fabric("cpu", "bf16")
    assert capfd.readouterr() == ("", "")


@pytest.mark.bad_input
def test_a_total_that_is_no_tensor_is_an_error() -> None:
    fabric = cast(
        Any, types.SimpleNamespace(world_size=2, all_gather=lambda data, sync_grads: [data])
    )
    with pytest.raises(TypeError, match=r"^Collectives: Fabric must return a tensor, got list$"):
        FabricCollectives(fabric).gather(torch.ones(()))


@pytest.mark.bad_input
def test_a_missing_gpu_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        build_fabric("cuda", "float32")
    assert str(caught.value) == (
        f"config: key 'train.device' must be a device of this machine, got 'cuda' where torch "
        f"{torch.__version__} sees none; use train.device=cpu"
    )
