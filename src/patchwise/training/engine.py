"""Lightning Fabric, set up for a run: device, precision, and what processes share.

A step has several backward passes (one a crop size, several when accumulating), which is why the
method is not wrapped: Fabric gives device, autocast, launch and collectives, and the loop decides
when gradients are complete.
"""

import logging
from typing import Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from patchwise.errors import ConfigError
from patchwise.training.processes import find_environment, here

Precision = Literal["float32", "bf16"]
_FABRIC_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed"]] = {
    "float32": "32-true",
    "bf16": "bf16-mixed",
}


def build_fabric(device: Literal["cpu", "cuda"], precision: Precision) -> Fabric:
    """Return Fabric for this process, one of those of `patchwise.training.processes.here`.

    Each has a device of its own.

    Raises:
        ConfigError: There are not so many CUDA devices, or the processes are to leave them alone.
    """
    check_device(device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    processes, environment = here(), find_environment()
    if processes.size == 1:
        fabric = Fabric(accelerator=device, devices=1, precision=_FABRIC_PRECISION[precision])
    else:
        fabric = Fabric(
            accelerator=device,
            devices=processes.size_here,
            num_nodes=processes.size // processes.size_here,
            strategy=DDPStrategy(cluster_environment=environment),
            precision=_FABRIC_PRECISION[precision],
        )
    fabric.launch()
    return fabric


def check_device(device: Literal["cpu", "cuda"]) -> None:
    """Raise a ConfigError if this process cannot have such a device.

    Several processes exchange tensors by NCCL where there are GPUs, and by Gloo elsewhere: which
    is settled before the settings are known.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"config: key 'train.device' must be a device of this machine, got {device!r} where "
            f"torch {torch.__version__} sees none; use train.device=cpu"
        )
    processes = here()
    if processes.size == 1:
        return
    if device == "cuda" and torch.cuda.device_count() < processes.size_here:
        raise ConfigError(
            f"train: every process must have a GPU, got {processes.size_here} processes on a "
            f"machine where each sees {torch.cuda.device_count()}; let every process see all"
        )
    if device == "cpu" and dist.get_backend() == "nccl":
        raise ConfigError(
            f"config: key 'train.device' must be 'cuda' for {processes.size} processes that see "
            f"GPUs, got {device!r}; hide the GPUs with CUDA_VISIBLE_DEVICES="
        )


class FabricCollectives:
    """`patchwise.distributed.Collectives` over the processes that Fabric launched."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self._fabric.global_rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self._fabric.world_size

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the elementwise sum of ``tensor`` over processes."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)  # Fabric's waits for all devices first
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes joined along the first axis, with gradient."""
        if self.size == 1:
            return tensor
        return _tensor(self._fabric.all_gather(tensor, sync_grads=True)).flatten(0, 1)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return the tensor of the first process."""
        if self.size == 1:
            return tensor
        first = self.rank == 0
        return self.sum(tensor.detach().clone() if first else torch.zeros_like(tensor))


def _tensor(received: object) -> Tensor:
    if not isinstance(received, Tensor):
        raise TypeError(f"Collectives: Fabric must return a tensor, got {type(received).__name__}")
    return received
