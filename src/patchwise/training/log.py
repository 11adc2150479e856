"""What a run writes about itself while it trains: `log.jsonl` and TensorBoard events."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchwise.files import write_text


class RunLog:
    """One JSON object a line, each with its ``step``; every number also goes to TensorBoard.

    Opened again at an earlier step, it forgets what was written after that step, so that the
    log of a resumed run reads like that of a run that never stopped.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second

        path = folder / "log.jsonl"
        write_text(path, "".join(f"{line}\n" for line in _lines_until(path, step)))
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one line. ``step`` counts the optimiser steps that are done."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._events.add_scalar(name, value, step)

    def lines(self) -> list[dict[str, Any]]:
        """Return what is written so far."""
        return read_log(self.path)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()
        self._events.close()


class NoLog:
    """The log of a process that is not the one to write it."""

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Write nothing."""

    def lines(self) -> list[dict[str, Any]]:
        """Return nothing."""
        return []

    def __enter__(self) -> "NoLog":
        return self

    def __exit__(self, *_error: object) -> None:
        pass


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `log.jsonl` as dictionaries."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _lines_until(path: Path, step: int) -> list[str]:
    """Return the whole lines of an existing log that belong to ``step`` or before."""
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):  # cut off when the machine stopped
            continue
    return kept
