"""One of the processes of a run that another one of them has started."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from patchwise.errors import PatchwiseError


def member_command(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return the command of a process that takes part in a call, and prints nothing but errors.

    Args:
        name: The function that is called.
        arguments: All that it was given.
    """
    text = json.dumps({**arguments, "processes": 1, "quiet": True}, default=_as_text)
    code = f"from {__name__} import take_part; take_part()"
    return [sys.executable, "-c", code, name, text]


def _as_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no setting")


def take_part() -> None:
    """Make the call that the command line names, as one of its processes."""
    from patchwise.api.training import forecast_training, train  # noqa: PLC0415 - they start this

    name, text = sys.argv[1:]
    calls: dict[str, Callable[..., object]] = {
        "train": train,
        "forecast_training": forecast_training,
    }
    try:
        calls[name](**json.loads(text))
    except PatchwiseError as error:
        sys.exit(f"{error}")
