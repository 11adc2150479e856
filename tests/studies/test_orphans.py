"""A process whose parent is gone stops; one whose parent is there does not."""

import signal
import subprocess
import sys

CODE = """
import os, sys, time
from studies.orphans import stop_without
stop_without(os.getppid() + int(sys.argv[1]))
time.sleep(float(sys.argv[2]))
"""


def run(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-c", CODE, *arguments], check=False).returncode


def test_it_stops_without_its_parent() -> None:
    assert run("1", "60") == -signal.SIGTERM


def test_it_goes_on_with_its_parent() -> None:
    assert run("0", "1.5") == 0
