"""Explaining why scores differ."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from patchwise.errors import DataError
from patchwise.eval.comparison import Paired, compare_results
from patchwise.eval.files import read_results


def compare(results: Sequence[str | Path]) -> Paired:
    """Compare the results in files, and say what explains that they differ.

    Args:
        results: Files of `patchwise eval`, or ``results.json`` of runs, or folders of runs; see
            `compare_results` for what is compared with what.

    Raises:
        DataError: A file cannot be read, or there is no result.
    """
    paths = [Path(path).expanduser() for path in results]
    files = [path / "results.json" if path.is_dir() else path for path in paths]
    sources = [(str(path), read_results(file)) for path, file in zip(paths, files, strict=True)]
    empty = [name for name, found in sources if not found]
    if empty or not sources:
        raise DataError(
            f"compare: results must be files with at least one result, "
            f"got {empty[0] if empty else 'no file'!r}"
        )
    return compare_results(sources)


def comparisons_as_json(found: Paired) -> str:
    """Return comparisons as JSON."""
    values = asdict(found)
    for content, comparison in zip(values["comparisons"], found.comparisons, strict=True):
        content["gap"] = comparison.gap
    return json.dumps(values, indent=2)
