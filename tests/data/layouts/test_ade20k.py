"""ADE20K's 150 classes."""

from pathlib import Path

import numpy as np
import pytest

from patchwise.data.class_list import IGNORED
from patchwise.data.layouts.ade20k import open_ade20k
from patchwise.errors import DataError
from tests.data.layouts.trees import ALL_BYTES, label_with, make_ade20k, save_label


def test_a_class_is_its_label_less_one_and_0_is_ignored(tmp_path: Path) -> None:
    parts = open_ade20k(make_ade20k(tmp_path))
    assert parts.name == "ADE20K"
    np.testing.assert_array_equal(parts.fit.read(1)[1], label_with(IGNORED, 0, 148))
    np.testing.assert_array_equal(parts.test.read(0)[1], label_with(IGNORED, 0, 149))
    assert parts.classes.lookup == (IGNORED, *range(150), *[-1] * 105)
    assert parts.classes.background is None
    assert parts.classes.scored == tuple(range(150))


def test_parts_are_training_and_validation(tmp_path: Path) -> None:
    parts = open_ade20k(make_ade20k(tmp_path))
    assert parts.fit.names == ("ADE_train_00000001.png", "ADE_train_00000002.png")
    assert parts.test.names == ("ADE_val_00000001.png",)


def test_classes_have_the_numbers_of_the_challenge(tmp_path: Path) -> None:
    """Numbers of objectInfo150.txt, which count from 1."""
    numbers = {
        "wall": 1, "building": 2, "person": 13, "car": 21, "rug": 29, "bathtub": 38,
        "skyscraper": 49, "screen door": 59, "toilet": 66, "computer": 75, "light": 83,
        "television": 90, "buffet": 100, "swimming pool": 110, "tent": 115, "minibike": 117,
        "step": 122, "bicycle": 128, "screen": 131, "traffic light": 137, "ashcan": 139,
        "crt screen": 142, "glass": 148, "flag": 150,
    }  # fmt: skip
    names = open_ade20k(make_ade20k(tmp_path)).classes.names
    assert len(set(names)) == 150
    assert {name: names.index(name) + 1 for name in numbers} == numbers


@pytest.mark.bad_input
def test_labels_that_were_shifted_before_are_refused(tmp_path: Path) -> None:
    save_label(make_ade20k(tmp_path) / "annotations/validation/ADE_val_00000001.png", ALL_BYTES)
    message = r"got \[151, 152, .*; these labels have 0 to 150$"
    with pytest.raises(DataError, match=message):
        open_ade20k(tmp_path).test.label(0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("annotations/training/ADE_train_00000002.png", "got 1 images without and 0 labels"),
        ("images/validation/ADE_val_00000001.jpg", "list_folder: .*validation' must hold images"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, path: str, message: str) -> None:
    (make_ade20k(tmp_path) / path).unlink()
    with pytest.raises(DataError, match=message):
        open_ade20k(tmp_path)


@pytest.mark.bad_input
def test_a_missing_part_is_named(tmp_path: Path) -> None:
    (make_ade20k(tmp_path) / "images" / "validation").rename(tmp_path / "images" / "val")
    message = r"images/validation' must be a folder, got none; there are training, val$"
    with pytest.raises(DataError, match=message):
        open_ade20k(tmp_path)
