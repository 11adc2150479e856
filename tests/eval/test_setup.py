"""What stands behind a result."""

import dataclasses
import time

import torch

from patchwise.data.segmentation import open_segmentation
from patchwise.eval.incontext import InContext
from patchwise.eval.setup import identify, identify_segmentation, start
from patchwise.version import __version__
from tests.eval.tiny import MODEL
from tests.small_runs import small_vit

CPU = torch.device("cpu")


def test_settings_are_all_fields_but_name_and_seed() -> None:
    protocol = InContext("incontext/mine", size_px=64, seed=3)
    data = identify_segmentation(open_segmentation("scenes"))
    mark = start(protocol, data, MODEL, CPU).fingerprint()
    expected = dataclasses.asdict(protocol)
    assert (expected.pop("preset"), expected.pop("seed")) == (mark.preset, mark.seed)
    assert mark.settings == expected
    assert (mark.data.name, mark.data.fit, mark.data.test) == ("scenes", 400, 200)
    assert mark.packages["patchwise"] == __version__
    assert "threads" in mark.device


def test_the_clock_runs_from_the_start() -> None:
    data = identify_segmentation(open_segmentation("scenes"))
    setup = start(InContext("p", size_px=64), data, MODEL, CPU)
    time.sleep(0.02)
    first = setup.fingerprint()
    assert first.seconds >= 0.02
    assert setup.fingerprint().seconds > first.seconds
    assert 2**25 < first.peak_bytes < 2**40


def test_weights_are_told_apart_by_every_bit() -> None:
    vit, same = small_vit(), small_vit()
    assert identify(vit, "a").sha256 == identify(same, "b").sha256
    with torch.no_grad():
        same.pos_embed[0, 0, 0] += 1e-6
    assert identify(vit, "a").sha256 != identify(same, "a").sha256
    assert identify(vit.half(), "a").sha256 != identify(small_vit(), "a").sha256
