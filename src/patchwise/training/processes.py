"""The processes of a run, and what they tell each other besides tensors.

Every process runs the same code with the same settings on its part of each batch. Decisions
(stop, go on, give up) are made by all together, through messages on the CPU: a process that
would leave the others alone would leave them waiting for ever. Only the first process writes.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from patchwise.environment import usable_cores
from patchwise.errors import ConfigError, DataError, TrainingError

_PATIENCE = timedelta(days=7)  # the first may be validating; one that has died is noticed at once
_STEP_PATIENCE = timedelta(minutes=10)  # of what all do together
Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process among all of a run. All must call the methods in the same order."""

    rank: int = 0
    size: int = 1
    size_here: int = 1  # on this machine
    group: dist.ProcessGroup | None = None  # of the messages, on the CPU

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def exchange(self, value: Any) -> list[Any]:  # noqa: ANN401 - what JSON can hold
        """Return the values of all processes, in order of rank: what JSON can hold."""
        if self.size == 1:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [int(length) for length in self._gather(torch.tensor([len(text)]))]
        padded = torch.nn.functional.pad(text, (0, max(lengths) - len(text)))
        received = zip(self._gather(padded), lengths, strict=True)
        return [json.loads(bytes(one[:length].tolist())) for one, length in received]

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is up on any process."""
        return any(self.exchange(flag))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the means over processes of named numbers; all must have the same names."""
        if self.size == 1:
            return dict(values)
        found = self.exchange(dict(values))
        return {name: fmean(one[name] for one in found) for name in values}

    def require(self, error: Exception | None) -> None:
        """Raise on all processes if there is an error on any; each its own if it has one."""
        self.raise_any(error, self.exchange(describe(error)) if self.size > 1 else [])

    def raise_any(self, own: Exception | None, told: Sequence[list[str] | None]) -> None:
        """Raise this process's error, or another one's that was told: see `describe`."""
        if own is not None:
            raise own
        for rank, other in enumerate(told):
            if other is not None:
                kind, text = other
                if kind == DataError.__name__:
                    raise DataError(f"train: process {rank} must have its images, got {text}")
                raise TrainingError(f"train: process {rank} must go on, got {kind}: {text}")

    def from_first(self, act: Callable[[], Result]) -> Result:
        """Let the first process act while the others wait; return what it returned, on all.

        What it raises, the others raise too. The result must be what JSON can hold.
        """
        if self.size == 1:
            return act()
        result, error = None, None
        if self.first:
            try:
                result = act()
            except Exception as caught:  # the others must know
                error = caught
        told = self.exchange([describe(error), result])
        self.raise_any(error, [told[0][0]])
        received: Result = told[0][1]
        return received

    def on_first(self, act: Callable[[], object]) -> None:
        """Let the first process act while the others wait."""

        def act_only() -> None:
            act()

        self.from_first(act_only)

    def _gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        received = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(received, tensor, group=self.group)
        return received


_joined: list[Processes] = [Processes()]  # the last one counts


def here() -> Processes:
    """Return this process among those that it has joined; else it is alone."""
    return _joined[-1]


def describe(error: Exception | None) -> list[str] | None:
    """Return kind and text of an error, for `Processes.raise_any` of the others."""
    return None if error is None else [type(error).__name__, str(error)]


def find_environment() -> ClusterEnvironment | None:
    """Return what torchrun, or srun of SLURM, says of this process; None if it is alone."""
    if TorchElasticEnvironment.detect():
        found: ClusterEnvironment = TorchElasticEnvironment()
    elif {"SLURM_NTASKS", "SLURM_STEP_ID"} <= os.environ.keys() and SLURMEnvironment.detect():
        if int(os.environ["SLURM_NTASKS"]) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
            raise ConfigError(
                f"train: SLURM must be told --ntasks-per-node, got --ntasks="
                f"{os.environ['SLURM_NTASKS']} alone"
            )
        found = SLURMEnvironment()
    else:
        return None
    return found if found.world_size() > 1 else None


def size_here(found: ClusterEnvironment) -> int:
    """Return how many of the processes are on this machine; as many on each."""
    if isinstance(found, SLURMEnvironment):
        return int(os.environ["SLURM_NTASKS_PER_NODE"])
    return int(os.environ["LOCAL_WORLD_SIZE"])


@contextmanager
def joined() -> Iterator[Processes]:
    """Be one of the processes that torchrun or SLURM started, while the block lasts.

    Raises:
        TrainingError: Another process has ended.
    """
    found = find_environment()
    if found is None or here().size > 1:
        yield here()
        return
    os.environ["MASTER_ADDR"] = found.main_address
    os.environ["MASTER_PORT"] = str(found.main_port)
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // size_here(found)))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        rank, size = found.global_rank(), found.world_size()
        dist.init_process_group(backend, timeout=_STEP_PATIENCE, rank=rank, world_size=size)
        messages = dist.new_group(backend="gloo", timeout=_PATIENCE)
        _joined.append(Processes(rank, size, size_here(found), messages))
        yield here()
    except (RuntimeError, dist.DistError) as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            f"train: all {found.world_size()} processes must go on, got on process "
            f"{found.global_rank()}: {_short(error)}; another one has ended, and says why"
        ) from error
    finally:
        del _joined[1:]
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(threads)


def _short(error: Exception) -> str:
    """Return what went wrong, without where in Gloo and without advice."""
    line = str(error).splitlines()[0].partition(". This is typically")[0]
    return line.partition("] ")[2] or line
