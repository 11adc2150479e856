"""How a training run went, by what it has logged itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from patchwise.checks import check_within
from patchwise.errors import DataError
from patchwise.eval.results import DataIdentity, RunHealthResult
from patchwise.eval.setup import start
from patchwise.features.subject import Subject

_HEALTH = "health/"
_NEEDED = ("teacher_entropy", "prototype_use", "loss_frac", "agreement")


@dataclass(frozen=True)
class RunRecord:
    """What a run has written about itself."""

    name: str
    lines: tuple[Mapping[str, Any], ...]  # of its log, oldest first
    sha256: str  # of its settings and of the log
    cause: str | None = None  # of what goes wrong, by name
    message: str | None = None

    def fingerprint(self) -> str:
        """Return a digest of the run."""
        return self.sha256


@dataclass(frozen=True)
class HealthRun:
    """Medians of what a run has logged of its health over its last part.

    Of the lines with health values, those of the last ``last_frac`` of the steps so far count, at
    least one. See docs/health.md for what the values mean.
    """

    preset: str
    last_frac: float = 0.1
    seed: int = 0  # nothing is drawn

    version = 1

    def __post_init__(self) -> None:
        check_within("HealthRun", 0.0, 1.0, last_frac=self.last_frac)

    def run(self, subject: Subject, data: RunRecord) -> RunHealthResult:
        """Read a run's log.

        Args:
            subject: The backbone that the run has come to; it is only named.
            data: What the run has written.

        Raises:
            DataError: The log holds no health values.
        """
        known = [line for line in data.lines if f"{_HEALTH}{_NEEDED[0]}" in line]
        if not known:
            raise DataError(
                f"HealthRun: log of '{data.name}' must hold health values, got none in "
                f"{len(data.lines)} lines; they are logged every train.log_every_steps steps"
            )
        setup = start(self, DataIdentity(data.name, 0, 0, data.sha256), subject)
        steps = int(known[-1]["step"])
        first = steps - math.floor(self.last_frac * steps)
        last = [line for line in known if line["step"] >= first]
        values = {
            name.removeprefix(_HEALTH): float(median(line[name] for line in last))
            for name in last[-1]
            if name.startswith(_HEALTH)
        }
        entropy, use, loss, agreement = (values[name] for name in _NEEDED)
        return RunHealthResult(
            fingerprint=setup.fingerprint(),
            steps=steps,
            lines=len(last),
            teacher_entropy=entropy,
            prototype_use=use,
            loss_frac=loss,
            agreement=agreement,
            values=values,
            cause=data.cause,
            message=data.message,
        )
