"""What is said while features are got, and what is to be remembered of it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

Say = Callable[[str], None]


def say_to_stderr(text: str) -> None:
    """Print a line beside what a program returns."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Notes:
    """One for all that is asked of a model."""

    say: Say = say_to_stderr
    stored: int = 0  # images whose features came from a store, in float16
    _said: set[str] = field(default_factory=set)

    def say_once(self, text: str) -> None:
        """Say what was not said before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)
