"""Results on the disk: one result, several, or those of a run, as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchwise.errors import DataError
from patchwise.eval.results import Result, dump_result, parse_result
from patchwise.files import write_text

SEVERAL = "results"  # kind of a file of several


def write_results(path: str | Path, results: Sequence[Result]) -> None:
    """Write results with their fingerprints, whole or not at all; one stands for itself.

    Raises:
        DataError: The file cannot be written.
    """
    values = [dump_result(result) for result in results]
    content = values[0] if len(values) == 1 else {"kind": SEVERAL, "results": values}
    try:
        write_text(Path(path).expanduser(), json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise DataError(f"evaluate: out must be a file that can be written, got {error}") from error


def read_results(path: str | Path) -> list[Result]:
    """Read what `write_results` wrote, or the evaluations in ``results.json`` of a run.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"read_results: '{path}' must be a readable file of results, got {error}"
        ) from error
    if isinstance(content, dict) and content.get("kind") == SEVERAL:
        values = _list(content.get("results"), path)
    elif isinstance(content, dict) and "train" in content:
        found = _list(content.get("evaluations", []), path)
        values = [one.get("result") if isinstance(one, dict) else one for one in found]
    else:
        values = [content]
    return [parse_result(value, source=str(path)) for value in values]


def _list(value: object, path: str | Path) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"read_results: results in '{path}' must be a list, got {str(value)[:80]}")
    return value
