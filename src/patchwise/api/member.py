"""One of the processes of a run that another one of them has started.

    python -m patchwise.api.member NAME ARGUMENTS

NAME is a function of `patchwise.api.training`, ARGUMENTS are its arguments as JSON.
"""

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
    return [sys.executable, "-m", "patchwise.api.member", name, text]


def _as_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no setting")


def main() -> None:
    """Take part."""
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


if __name__ == "__main__":
    main()
