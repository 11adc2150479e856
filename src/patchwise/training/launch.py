"""Starting the other processes of a run on this machine.

This process is the first of them, so that whoever called it gets results and errors as ever, and
Ctrl-C. The others run a command with the variables that torchrun would set. They are neither
this program begun again, which in a script or a notebook would do more than train, nor forks of
this process, which may have used its GPU already.
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from patchwise.checks import check_positive
from patchwise.environment import usable_cores
from patchwise.errors import ConfigError, TrainingError
from patchwise.training.processes import Processes, find_environment, joined

_GRACE_S = 20.0  # for the others to end by themselves


@contextmanager
def several(wanted: int, command: Sequence[str]) -> Iterator[Processes]:
    """Be the first of ``wanted`` processes while the block lasts, or one that was started before.

    Args:
        wanted: Number of processes on this machine; 1 where torchrun or SLURM started them.
        command: What the others are to run: the same code, up to the same collectives.

    Raises:
        ConfigError: torchrun or SLURM started another number of processes.
        TrainingError: Another process has ended.
    """
    check_positive("train", processes=wanted)
    found = find_environment()
    if found is not None and wanted not in {1, found.world_size()}:
        raise ConfigError(
            f"train: processes must be left out where torchrun or SLURM starts them, got {wanted} "
            f"in one of {found.world_size()}"
        )
    with ExitStack() as stack:
        if found is None and wanted > 1:
            stack.enter_context(_started(wanted, command))
        yield stack.enter_context(joined())


@contextmanager
def _started(wanted: int, command: Sequence[str]) -> Iterator[None]:
    """Start all processes but this one; end those that are left when the block ends."""
    shared = {
        "TORCHELASTIC_RUN_ID": "patchwise",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(wanted),
        "LOCAL_WORLD_SIZE": str(wanted),
        "GROUP_RANK": "0",
    }
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // wanted)))
    others: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        words = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, wanted)]
        stack.enter_context(_environment({**shared, "RANK": "0", "LOCAL_RANK": "0"}))
        try:
            for rank, heard in enumerate(words, start=1):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": threads}
                others.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, **own},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=heard,
                        start_new_session=True,  # Ctrl-C is for this process: it tells them
                    )
                )
            yield
        except TrainingError as error:
            said = _last_words(others, words)
            if said is None or said in str(error):
                raise
            raise TrainingError(
                f"train: all {wanted} processes must go on, got of one at its end: {said}"
            ) from error
        finally:
            _end(others)


def _last_words(
    others: Sequence[subprocess.Popen[bytes]], words: Sequence[IO[bytes]]
) -> str | None:
    """Return what the first process to fail said last."""
    for other, heard in zip(others, words, strict=True):
        try:
            failed = other.wait(timeout=1.0) != 0
        except subprocess.TimeoutExpired:
            continue
        if failed:
            heard.seek(0)
            lines = heard.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else f"it ended with {other.returncode}"
    return None


def _end(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for processes to end, then make them."""
    for other in others:
        try:
            other.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process while the block lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
