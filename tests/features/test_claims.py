"""Each part of some work is done by one process."""

import subprocess
import sys
from pathlib import Path

from patchwise.features.claims import Claims

OTHER = """
import sys
from pathlib import Path
from patchwise.features.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.take(3), claims.take(4), flush=True)
sys.stdin.readline()
"""


def test_what_one_has_no_other_gets_until_it_ends(tmp_path: Path) -> None:
    with Claims(tmp_path) as claims:
        assert claims.take(3)
        with subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline().split() == ["False", "True"]
            assert not claims.take(4)
            claims.give_back(3, done=True)
            assert claims.take(3)
            other.kill()
            assert claims.take(4, wait=True)


def test_two_of_one_process_are_two_as_well(tmp_path: Path) -> None:
    second = Claims(tmp_path)
    with Claims(tmp_path) as first:
        assert first.take(0)
        assert not second.take(0)
        assert second.take(1)
        first.give_back(0, done=False)
        assert second.take(0)
        second.give_back(0, done=False)
        assert first.take(0)
    assert second.take(0)  # the end of the block gave it back
    second.give_back(0, done=True)
    second.give_back(1, done=True)
    assert not list(tmp_path.iterdir())
