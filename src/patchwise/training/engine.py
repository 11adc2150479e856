"""Lightning Fabric, set up for a run: device, precision, and what processes share.

A step has several backward passes (one a crop size, several when accumulating), which is why the
method is not wrapped: Fabric gives device, autocast, launch and collectives, and the loop decides
when gradients are complete.
"""

import logging
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from patchwise.errors import ConfigError

Precision = Literal["float32", "bf16"]
_FABRIC_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed"]] = {
    "float32": "32-true",
    "bf16": "bf16-mixed",
}


def build_fabric(device: Literal["cpu", "cuda"], precision: Precision) -> Fabric:
    """Return Fabric for one process on a device.

    Raises:
        ConfigError: There is no CUDA device, but one is asked for.
    """
    check_device(device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=device, devices=1, precision=_FABRIC_PRECISION[precision])
    fabric.launch()
    return fabric


def check_device(device: Literal["cpu", "cuda"]) -> None:
    """Raise a ConfigError if there is no CUDA device, but one is asked for."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"config: key 'train.device' must be a device of this machine, got {device!r} where "
            f"torch {torch.__version__} sees none; use train.device=cpu"
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
        return _tensor(self._fabric.all_reduce(tensor, reduce_op="sum"))

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes joined along the first axis, with gradient."""
        if self._fabric.world_size == 1:
            return tensor
        return _tensor(self._fabric.all_gather(tensor, sync_grads=True)).flatten(0, 1)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Return the tensor of the first process."""
        first = self._fabric.global_rank == 0
        return self.sum(tensor.detach().clone() if first else torch.zeros_like(tensor))


def _tensor(received: object) -> Tensor:
    if not isinstance(received, Tensor):
        raise TypeError(f"Collectives: Fabric must return a tensor, got {type(received).__name__}")
    return received
