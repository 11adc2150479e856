"""What each process of the tests of several processes does; see test_processes.py."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchwise.api.nearby import refresher
from patchwise.configs.methods import MethodConfig
from patchwise.data.images import ImageProblem
from patchwise.data.synthetic import Scenes
from patchwise.errors import DataError, PatchwiseError
from patchwise.methods import METHODS
from patchwise.training.folder import RunFolder
from patchwise.training.plan import Plan, build_training, count_bad_images, make_plan, open_stream
from patchwise.training.processes import here, joined
from tests.small_runs import COTAP_CONFIG, DINO_CONFIG, PWSELF_CONFIG, run_config, small_vit

TIMEOUT_S = 300  # on a busy machine
STEPS = 4
METHOD_CONFIGS: dict[str, MethodConfig] = {
    "dino": DINO_CONFIG,
    "pwself": PWSELF_CONFIG,
    "pwself, two heads": replace(PWSELF_CONFIG, shared_head=False, centre="kind"),
    "cotap": replace(COTAP_CONFIG, rank_all_processes=True),
}
CASES = {**{name: 1 for name in METHOD_CONFIGS}, "pwself, in parts": 2}  # parts of a batch


class SomeBroken(Scenes):
    """Scenes of which some cannot be read."""

    broken = (1, 4, 7, 9)

    def read(self, index: int) -> np.ndarray:
        if index in self.broken:
            raise ImageProblem(f"image {index} is broken")
        return super().read(index)


@contextmanager
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def plan_of(case: str) -> Plan:
    """A run of 12 images, 4 a step; parameters in the default type."""
    method = METHOD_CONFIGS[case.removesuffix(", in parts")]
    config = replace(run_config(accumulate=CASES[case], log_every_steps=2), method=method)
    inputs = METHODS[method.name].inputs
    sources = {wanted.name: Scenes(12, seed=place) for place, wanted in enumerate(inputs)}
    nearest = np.stack([np.roll(np.arange(12), -1), np.roll(np.arange(12), -5)], axis=1)
    neighbours = {wanted.name: nearest for wanted in inputs if wanted.neighbours}
    weights = small_vit() if neighbours else None
    if weights is not None:
        config = replace(config, backbone=replace(weights.config, drop_path=0.2))
    return make_plan(config, sources, weights, neighbours)


@dataclass
class Found:
    """What a training came to."""

    values: list[dict[str, float]]
    state: dict[str, torch.Tensor]
    ids: list[list[int]]  # images of each step
    draws: list[float]  # of torch's generator after each step


def train(case: str) -> Found:
    """Some steps of training in float64, on this process's part of the batches."""
    with in_float64():
        plan = plan_of(case)
        training = build_training(plan, "float32")
        stream = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
        found = Found([], {}, [], [])
        for _ in range(STEPS):
            batch = next(stream)
            found.ids.append(next(iter(batch.values())).ids.tolist())
            found.values.append(training.step(batch))
            found.draws.append(float(torch.rand(())))
        found.state = training.method.state_dict()
    return found


def meet_broken_images(tolerated: int) -> dict[str, Any]:
    """Read an epoch of images of which four are broken."""
    plan = plan_of("dino")
    config = replace(plan.config, data=replace(plan.config.data, tolerated_bad_images=tolerated))
    plan = replace(plan, config=config, sources={"images": SomeBroken(12)})
    counts, said = count_bad_images(plan), list[str]()
    stream = open_stream(plan, counts, start_step=0, say=said.append)
    found: dict[str, Any] = {"numbers": [], "error": None, "said": said}
    try:
        for _ in range(3):
            next(stream)
            found["numbers"].append(len(counts["images"]))
    except DataError as error:
        found["error"] = str(error)
    found["state"] = counts["images"].state()
    return found


def find_anew(folder: Path) -> dict[str, Any]:
    """Find the neighbours of a run anew."""
    said: list[str] = []
    refresh = refresher(plan_of("cotap"), RunFolder(folder), said.append)
    return {"found": refresh(3, small_vit().eval()), "again": refresh(3, None), "said": said}


def talk() -> dict[str, Any]:
    """Use each kind of message."""
    processes = here()
    rank = processes.rank

    def fail() -> None:
        raise DataError(f"test: the first must not fail, got {rank}")

    found: dict[str, Any] = {
        "who": (rank, processes.size, processes.size_here, processes.first),
        "exchange": processes.exchange({"rank": rank, "long": "x" * 1000 * rank, "nan": None}),
        "any": [processes.any(rank == 1), processes.any(False), processes.any(rank == 0)],
        "mean": processes.mean({"a": float(rank), "b": 0.1}),
        "first": processes.from_first(lambda: rank + 10),
    }
    acts: dict[str, Callable[[], object]] = {
        "require": lambda: processes.require(DataError("of 1") if rank == 1 else None),
        "require other": lambda: processes.require(OSError("disk") if rank == 1 else None),
        "fail": lambda: processes.from_first(fail),
    }
    for name, act in acts.items():
        try:
            act()
        except (PatchwiseError, OSError) as error:
            found[name] = (type(error).__name__, str(error))
    processes.require(None)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    with joined() as processes:
        found: dict[str, Any] = {case: asdict(train(case)) for case in CASES}
        found["talk"] = talk()
        found["broken"] = {tolerated: meet_broken_images(tolerated) for tolerated in (4, 3, 2)}
        found["anew"] = find_anew(folder)
        torch.save(found, folder / f"{processes.rank}.pt")


def member_environments(size: int) -> list[dict[str, str]]:
    """What torchrun sets for each of the processes of one machine."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    shared = {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "GROUP_RANK": "0",
        "OMP_NUM_THREADS": "1",
    }
    return [{**os.environ, **shared, "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(size)]


def run_members(size: int, command: Sequence[str]) -> list[str]:
    """Run a command in several processes; return what each wrote to stderr. All must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(size)]
        members = []
        for file, environment in zip(files, member_environments(size), strict=True):
            with file.open("wb") as stderr:
                members.append(subprocess.Popen(command, env=environment, stderr=stderr))
        try:
            codes = [member.wait(timeout=TIMEOUT_S) for member in members]
        finally:
            for member in members:
                member.kill()
                member.wait()
        said = [file.read_text() for file in files]
    assert codes == [0] * size, "\n".join(said)
    return said


if __name__ == "__main__":
    main()
