"""The folder of a run: what is in it, and where."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchwise.configs.loader import dump_toml, read_config
from patchwise.configs.run import RunConfig
from patchwise.environment import describe_environment
from patchwise.errors import CheckpointError
from patchwise.files import write_text
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.vit import ViT
from patchwise.models.weights import save_backbone


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

    def neighbours(self, name: str, step: int = 0) -> Path:
        """The neighbours of the images of an input, from a step on."""
        return self.path / f"neighbours-{name}-{step:09}.safetensors"

    @property
    def version(self) -> Path:
        """Program, packages and machine that the run began with."""
        return self.path / "version.txt"

    @property
    def results(self) -> Path:
        """What the run came to, JSON; there once it is complete."""
        return self.path / "results.json"

    def create(self, config: RunConfig, data: dict[str, Any], initial: ViT | FilteredViT) -> None:
        """Make the folder of a new run. The configuration comes last: with it, there is a run.

        Raises:
            CheckpointError: There is something in the folder already, or it cannot be made.
        """
        self.require_empty()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.version, describe_environment(config.train.device))
            write_text(self.data, json.dumps(data, indent=2) + "\n")
            save_backbone(initial, self.initial)
            self.write_config(config)
        except OSError as error:
            raise CheckpointError(
                f"train: out must be a folder that can be written, got {error}"
            ) from error

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved settings."""
        write_text(self.config, dump_toml(config))

    def require_empty(self) -> None:
        """Raise `CheckpointError` if there is anything at this path."""
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"train: out must be a folder, got '{self.path}', which is none")
        files = list(self.path.iterdir()) if self.path.exists() else []
        if files:
            advice = "pass --resume to continue that run, or choose another folder"
            if not self.config.exists():
                advice = "it holds no run to resume: choose another folder, or empty it"
            raise CheckpointError(
                f"train: out must be empty, got '{self.path}' with {len(files)} files; {advice}"
            )

    def read(self) -> tuple[RunConfig, dict[str, Any]]:
        """Return the configuration and the data description of an existing run.

        Raises:
            CheckpointError: There is no run in this folder, or its files are damaged.
        """
        if not self.config.exists():
            raise CheckpointError(
                f"train: out must be the folder of a run to resume, got '{self.path}' without "
                f"config.toml; leave out --resume to start a new run"
            )
        return read_config(self.config), read_json(self.data, {"data", "fingerprint", "images"})

    def changed_environment(self, device: str) -> list[str]:
        """Return what differs from `version` now: ``"torch: 2.12.0, now 2.13.0"``.

        After such a change a run still goes on, but not bit for bit as if it had never stopped.
        """
        before = self.version.read_text(encoding="utf-8").splitlines()
        now = describe_environment(device).splitlines()
        return [
            f"{old}, now {new.partition(': ')[2]}"
            for old, new in zip(before, now, strict=False)
            if old != new
        ]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the run while the block lasts.

        Raises:
            CheckpointError: Another process has the run.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CheckpointError(
                    f"train: out must be used by one process at a time, got '{self.path}', which "
                    f"another one is training; wait for it, or stop it"
                ) from error
            yield


def read_json(path: Path, keys: set[str]) -> dict[str, Any]:
    """Read a JSON object that must hold at least ``keys``.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"train: {path} must be readable JSON, got {error}") from error
    if not isinstance(content, dict) or not keys <= content.keys():
        raise CheckpointError(
            f"train: {path} must hold {', '.join(sorted(keys))}, got {str(content)[:80]!r}"
        )
    return content
