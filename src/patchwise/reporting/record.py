"""What a page is rendered from: everything a run has written, already read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchwise.configs.run import RunConfig
from patchwise.eval.results import Evaluation


@dataclass(frozen=True)
class RunRecord:
    """What a run has written about itself."""

    name: str  # of its folder
    config: RunConfig
    config_text: str  # as TOML
    data: Mapping[str, Any]  # data.json
    log: Sequence[Mapping[str, Any]]
    version: str  # version.txt: a fact a line
    results: Mapping[str, Any] | None = None  # "train" of results.json; None: not complete
    evaluations: Sequence[Evaluation] = ()

    @property
    def facts(self) -> dict[str, str]:
        """``version`` by name."""
        pairs = (line.partition(": ") for line in self.version.splitlines() if line.strip())
        return {name: value for name, _, value in pairs}

    @property
    def steps(self) -> int:
        """Optimiser steps that are known to be done."""
        if self.results is not None:
            return int(self.results["steps"])
        return max((int(line["step"]) for line in self.log if "step" in line), default=0)
