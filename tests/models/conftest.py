"""What the tests of backbones share."""

from collections.abc import Callable

import pytest
from torch import nn

from tests.models import redrawing

Redraw = Callable[[nn.Module], None]


@pytest.fixture
def redraw() -> Redraw:
    """Give every weight a value that matters: no bias at 0, no scale at 1, no token alike."""
    return redrawing.redraw
