"""One option of a configuration: a dataclass field that carries its own help text."""

from dataclasses import field
from typing import Any


def option(default: Any, help_text: str) -> Any:  # noqa: ANN401 - stands where any default may
    """Return a dataclass field with a default and the sentence that `--help` and docs show.

    A default that is itself a configuration (a frozen dataclass) may be given as it is.
    """
    return field(default=default, metadata={"help": help_text})
