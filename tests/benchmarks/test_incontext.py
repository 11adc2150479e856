"""The plain search that ours is timed against finds the same."""

from pathlib import Path

import pytest
import torch
from benchmarks.incontext import PlainSearch, make_store, read_store, search_exactly, search_nearly
from torch.nn import functional as F

from benchmarks import incontext
from patchwise.ops.nearest import Nearest


def test_the_plain_search_finds_the_same_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = (F.normalize(torch.randn(n, 24, generator=generator)) for n in (1500, 900))
    plain, ours = PlainSearch(queries, 8), Nearest(queries, 8)
    for first in range(0, 900, 250):
        plain.offer(keys[first : first + 250], first)
        ours.offer(keys[first : first + 250], torch.arange(first, min(first + 250, 900)))
    values, index = plain.found()
    assert float((index == ours.index).double().mean()) > 0.999
    torch.testing.assert_close(values, ours.values)


@pytest.mark.slow
def test_every_part_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"SIDE": 4, "IMAGES": 3, "PLAIN_BLOCK": 500, "CHECKED": 16}.items():
        monkeypatch.setattr(incontext, name, value)
    make_store(tmp_path, "", "", 9000)
    queries, keys = read_store(tmp_path)
    with keys:
        assert (queries.shape, keys.shape) == ((48, 384), (9000, 384))
        torch.testing.assert_close(
            keys.read(0, 9000).norm(dim=1), torch.ones(9000), atol=2e-3, rtol=0
        )
    search_exactly(tmp_path)
    assert "ranks: 0.99" in capsys.readouterr().out.replace("1.000", "0.999")
    search_nearly(tmp_path, 40, [40])
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(1.0, abs=0.01)
