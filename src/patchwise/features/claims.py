"""Sharing out work between processes that know nothing of each other."""

import fcntl
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO


class Claims(AbstractContextManager["Claims"]):
    """The parts of some work that this process has; no other one can have them.

    A part is claimed by a lock on a file. A process that ends gives back what it has, however it
    ends.

    Args:
        folder: Where the files are; the same for all processes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, IO[str]] = {}

    def take(self, part: int, *, wait: bool = False) -> bool:
        """Claim a part; return whether that succeeded.

        Check afterwards that it is still to be done: another process may just have finished it.

        Args:
            part: Its number.
            wait: Wait until no other process has it. Claim nothing else meanwhile.
        """
        file = self._file(part).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except BaseException:
            file.close()
            raise
        self._held[part] = file
        return True

    def give_back(self, part: int, *, done: bool) -> None:
        """End the claim of a part; one that is done needs its file no more."""
        file = self._held.pop(part)
        if done:
            self._file(part).unlink(missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_UN)  # closing does not suffice while workers share the file
        file.close()

    def __exit__(self, *_error: object) -> None:
        for part in list(self._held):
            self.give_back(part, done=False)

    def _file(self, part: int) -> Path:
        return self._folder / f".{part:05}.lock"
