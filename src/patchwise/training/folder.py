"""The folder of a run: what is in it, and where."""

import json
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from patchwise.configs.loader import dump_toml, read_config
from patchwise.configs.run import RunConfig
from patchwise.errors import CheckpointError
from patchwise.files import write_text
from patchwise.version import __version__

_PACKAGES = ("torch", "lightning-fabric", "numpy", "pillow", "safetensors", "pydantic")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run. Everything that `report` and `--resume` need is in here."""

    path: Path

    @property
    def config(self) -> Path:
        """Resolved settings, TOML."""
        return self.path / "config.toml"

    @property
    def data(self) -> Path:
        """Which images, JSON."""
        return self.path / "data.json"

    @property
    def log(self) -> Path:
        """What happened, a JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def initial(self) -> Path:
        """The backbone before training."""
        return self.path / "initial.safetensors"

    @property
    def backbone(self) -> Path:
        """The backbone as of the last checkpoint or the end."""
        return self.path / "backbone.safetensors"

    @property
    def results(self) -> Path:
        """What the run came to, JSON; there once it is complete."""
        return self.path / "results.json"

    def create(self, config: RunConfig, data: dict[str, Any]) -> None:
        """Make the folder of a new run and write down what it is.

        Raises:
            CheckpointError: There is something in the folder already, or it cannot be made.
        """
        self.require_empty()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / "version.txt", describe_environment(config.train.device))
            write_text(self.data, json.dumps(data, indent=2) + "\n")
            write_text(self.config, dump_toml(config))
        except OSError as error:
            raise CheckpointError(
                f"train: out must be a folder that can be written, got {error}"
            ) from error

    def require_empty(self) -> None:
        """Raise `CheckpointError` if there is anything at this path."""
        if self.path.is_file():
            raise CheckpointError(f"train: out must be a folder, got the file '{self.path}'")
        files = list(self.path.iterdir()) if self.path.exists() else []
        if files:
            raise CheckpointError(
                f"train: out must be empty, got '{self.path}' with {len(files)} files; pass "
                f"--resume to continue that run, or choose another folder"
            )

    def read(self) -> tuple[RunConfig, dict[str, Any]]:
        """Return the configuration and the data description of an existing run.

        Raises:
            CheckpointError: There is no run in this folder.
        """
        if not self.config.exists():
            raise CheckpointError(
                f"train: out must be the folder of a run to resume, got '{self.path}' without "
                f"config.toml; leave out --resume to start a new run"
            )
        return read_config(self.config), json.loads(self.data.read_text(encoding="utf-8"))


def describe_environment(device: str) -> str:
    """Return version, commit, packages and machine, a fact a line."""
    facts = {
        "patchwise": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "threads": str(torch.get_num_threads()),
        **{name: metadata.version(name) for name in _PACKAGES},
    }
    return "".join(f"{name}: {value or 'unknown'}\n" for name, value in facts.items())


def _commit() -> str:
    """Return the commit of the source tree this runs from; empty if installed without one."""
    source = Path(__file__)
    try:
        _git(source.parent, "ls-files", "--error-unmatch", source.name)  # not a tree around it
        return _git(source.parent, "describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
