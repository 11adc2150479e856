"""What Fabric is set up to be."""

import types
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric

from patchwise.distributed import Collectives
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


def test_the_sum_over_one_process_is_the_tensor() -> None:
    collectives: Collectives = FabricCollectives(build_fabric("cpu", "float32"))
    tensor = torch.arange(6.0).reshape(2, 3)
    torch.testing.assert_close(collectives.sum(tensor.clone()), tensor, rtol=0, atol=0)


def test_values_are_summed_and_not_averaged() -> None:
    class TwoProcesses(Fabric):
        """Two processes that hold the same."""

        def all_reduce(self, data: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
            return data * 2 if reduce_op == "sum" else data

    fabric = TwoProcesses(accelerator="cpu", devices=1)
    assert FabricCollectives(fabric).sum(torch.ones(())) == 2


def test_building_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    build_fabric("cpu", "bf16")
    assert capfd.readouterr() == ("", "")


@pytest.mark.bad_input
def test_a_total_that_is_no_tensor_is_an_error() -> None:
    fabric = cast(Any, types.SimpleNamespace(all_reduce=lambda data, reduce_op: [data]))
    with pytest.raises(TypeError, match=r"^sum: the total must be a tensor, got list$"):
        FabricCollectives(fabric).sum(torch.ones(()))


@pytest.mark.bad_input
def test_a_missing_gpu_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        build_fabric("cuda", "float32")
    assert str(caught.value) == (
        f"config: key 'train.device' must be a device of this machine, got 'cuda' where torch "
        f"{torch.__version__} sees none; use train.device=cpu"
    )
