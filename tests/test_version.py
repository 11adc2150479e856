"""One version, written once."""

import re

from patchwise.version import __version__


def test_the_version_is_of_three_numbers() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
