"""What stands behind a result."""

import dataclasses
import time
from pathlib import Path

import pytest

from patchwise.data.labelled import open_labelled_data
from patchwise.data.segmentation import open_segmentation
from patchwise.errors import DataError
from patchwise.eval.incontext import InContext
from patchwise.eval.results import STORED, DataIdentity
from patchwise.eval.setup import identify_labelled, identify_segmentation, part_to_score, start
from patchwise.version import __version__
from tests.eval.tiny import Sighted, save_colours, subject_of


def test_settings_are_all_fields_but_name_and_seed() -> None:
    protocol = InContext("incontext/mine", size_px=64, seed=3)
    data = identify_segmentation(open_segmentation("scenes"))
    mark = start(protocol, data, subject_of(Sighted())).fingerprint()
    expected = dataclasses.asdict(protocol)
    assert (expected.pop("preset"), expected.pop("seed")) == (mark.preset, mark.seed)
    assert mark.settings == expected
    assert (mark.data.name, mark.data.fit, mark.data.test) == ("scenes", 400, 200)
    assert mark.packages["patchwise"] == __version__
    assert "threads" in mark.device


def test_images_with_classes_are_identified_by_both_parts(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"train": 4, "val": 2}))
    assert identify_labelled(data) == DataIdentity(tmp_path.name, 4, 2, data.fingerprint())


def test_the_part_to_score_is_the_second_one(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"train": 4, "val": 2}))
    assert part_to_score(data, "p") is data.test


@pytest.mark.bad_input
def test_one_part_is_not_enough(tmp_path: Path) -> None:
    data = open_labelled_data(save_colours(tmp_path, {"": 8}))
    message = (
        rf"^evaluate: data of p must have two parts, train and val, got one in '{tmp_path.name}'; "
        r"lay the images out in two folders$"
    )
    with pytest.raises(DataError, match=message):
        part_to_score(data, "p")


def test_the_clock_runs_from_the_start() -> None:
    data = identify_segmentation(open_segmentation("scenes"))
    setup = start(InContext("p", size_px=64), data, subject_of(Sighted()))
    time.sleep(0.02)
    first = setup.fingerprint()
    assert first.seconds >= 0.02
    assert setup.fingerprint().seconds > first.seconds
    assert 2**25 < first.peak_bytes < 2**40


def test_it_says_where_features_came_from_since_then() -> None:
    data, subject = identify_segmentation(open_segmentation("scenes")), subject_of(Sighted())
    protocol = InContext("p", size_px=64)
    first = start(protocol, data, subject)
    assert first.fingerprint().features == "float32"
    subject.notes.stored += 5
    assert first.fingerprint().features == STORED
    assert start(protocol, data, subject).fingerprint().features == "float32"
