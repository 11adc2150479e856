"""What is timed finds the same, and the protocol runs on what it is measured with."""

import numpy as np
import pytest
from benchmarks.clusters import many_passes, one_pass, run_protocol, sample_maps


def test_one_pass_finds_what_many_find() -> None:
    maps = sample_maps(1)
    found = one_pass(*maps)
    np.testing.assert_allclose(found, many_passes(*maps))
    assert 0 < found.max() <= 1


def test_the_protocol_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run_protocol(0.01, images=2)
    assert capsys.readouterr().out.endswith(" s\n")
