"""One page that shows what a run has done."""

import hashlib
import json
from pathlib import Path
from typing import Any

from patchwise.api.nearby import read_kept
from patchwise.api.picturing import run_figures
from patchwise.api.validation import read_evaluations
from patchwise.data.reader import NearestIds
from patchwise.data.source import ImageSource, open_source
from patchwise.errors import CheckpointError, DataError
from patchwise.files import write_text
from patchwise.methods import METHODS
from patchwise.models.weights import load_backbone
from patchwise.pictures.figure import Figure
from patchwise.pictures.storage import read_figures, write_figures
from patchwise.reporting.page import run_page
from patchwise.reporting.record import RunRecord
from patchwise.training.folder import RunFolder, read_json

_PICTURES_VERSION = 2  # raised when the same run would give other pictures


def report(run: str | Path, *, out: str | Path | None = None) -> Path:
    """Write one HTML file that shows what a run has done; it needs nothing else to be read.

    Pictures are computed into the run's folder where they are missing or of older weights.

    Args:
        run: Folder of the run; complete or not.
        out: The file; ``report.html`` in the run's folder if None.

    Returns:
        Where the report is.

    Raises:
        PatchwiseError: There is no run, or its images or weights cannot be read.
    """
    folder = RunFolder(Path(run).expanduser())
    record = _read_record(folder)
    source = open_source(record.data["data"])
    if source.fingerprint() != record.data["fingerprint"]:
        raise CheckpointError(
            f"report: data must be the images of the run ({record.data['images']} images of "
            f"{record.data['data']}), got {len(source)} images of {source.name} that differ from "
            f"them; restore them"
        )
    figures = _figures(folder, record, source)
    path = folder.path / "report.html" if out is None else Path(out).expanduser()
    try:
        write_text(path, run_page(record, figures))
    except OSError as error:
        raise DataError(f"report: out must be a file that can be written, got {error}") from error
    return path


def _read_record(folder: RunFolder) -> RunRecord:
    if not folder.config.exists() or not folder.backbone.exists():
        raise CheckpointError(
            f"report: run must be the folder of a run with a backbone, got '{folder.path}', which "
            f"has {'no checkpoint yet' if folder.config.exists() else 'no config.toml'}"
        )
    config, data = folder.read()
    results = read_json(folder.results, {"train"}) if folder.results.exists() else {}
    return RunRecord(
        name=folder.path.resolve().name,
        config=config,
        config_text=folder.config.read_text(encoding="utf-8"),
        data=data,
        log=_whole_lines(folder.log) if folder.log.exists() else [],
        version=folder.version.read_text(encoding="utf-8") if folder.version.exists() else "",
        results=results.get("train"),
        evaluations=read_evaluations(folder) if results else (),
    )


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; the last one may be cut off if the run was, or is at work."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise CheckpointError(
                    f"report: every line of {path} must be JSON, got line {number}: {error}"
                ) from error
    return found


def _figures(folder: RunFolder, record: RunRecord, source: ImageSource) -> list[Figure]:
    """Return the figures of a run: those in its folder, or new ones."""
    key = _key(folder, record)
    pictures = folder.path / "pictures"
    figures = read_figures(pictures, source=key)
    if figures is None:
        before, after = (load_backbone(path).eval() for path in (folder.initial, folder.backbone))
        neighbours = _neighbours(folder, record, source)
        figures = run_figures(record.config, source, before, after, neighbours=neighbours)
        write_figures(figures, pictures, source=key)
    return figures


def _neighbours(folder: RunFolder, record: RunRecord, source: ImageSource) -> NearestIds | None:
    """Return the neighbours that the run's folder keeps of its images; None: it has none.

    Where a method wants several sets of images, ``data`` is the first one.
    """
    wanted = METHODS[record.config.method.name].inputs[0]
    return read_kept(folder.neighbours(wanted.name), source).ids if wanted.neighbours else None


def _key(folder: RunFolder, record: RunRecord) -> str:
    """Return a digest of everything that the pictures depend on."""
    parts = {
        "version": _PICTURES_VERSION,
        "weights": [_digest(folder.initial), _digest(folder.backbone)],
        "config": record.config_text,
        "data": record.data["fingerprint"],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
