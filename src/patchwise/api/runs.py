"""Reading the folder of a run: what it says about itself."""

import hashlib
from pathlib import Path

from patchwise.errors import DataError
from patchwise.eval.run_health import RunRecord
from patchwise.training.folder import RunFolder
from patchwise.training.health import diagnose
from patchwise.training.log import read_log


def open_run(run: str | Path) -> RunRecord:
    """Return what a run has logged, and what is wrong with it if anything is seen.

    The cause is that of the run's end; where that shows none, the last one that was named on the
    way.

    Raises:
        DataError: It is no folder of a run, or its log cannot be read.
        CheckpointError: Its settings or its data description are damaged.
    """
    folder = run_folder(run)
    config, _ = folder.read()
    try:
        text = folder.log.read_bytes()
        lines = tuple(read_log(folder.log))
    except (OSError, ValueError) as error:
        raise DataError(f"open_run: {folder.log} must be a readable log, got {error}") from error
    digest = hashlib.sha256(folder.config.read_bytes() + text).hexdigest()
    found = diagnose(lines, config)
    named = [line["warning"] for line in lines if "warning" in line]
    cause = message = None
    if found is not None:
        cause, message = found.cause, found.message
    elif named:
        cause, message = named[-1]["cause"], named[-1]["message"]
    return RunRecord(folder.path.name, lines, digest, cause, message)


def run_folder(run: str | Path) -> RunFolder:
    """Return the folder of a run that is there.

    Raises:
        DataError: There is no run.
    """
    folder = RunFolder(Path(run).expanduser())
    if not folder.config.is_file():
        raise DataError(
            f"open_run: run must be the folder of a run, got '{run}' without config.toml"
        )
    return folder
