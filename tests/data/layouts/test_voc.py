"""VOC 2012 with and without the augmented labels."""

from pathlib import Path

import numpy as np
import pytest

from patchwise.data.class_list import IGNORED
from patchwise.data.layouts.voc import open_voc
from patchwise.errors import DataError
from tests.data.layouts.trees import ALL_BYTES, label_with, make_voc, save_label, save_list


def test_without_augmented_labels_it_is_the_published_parts(tmp_path: Path) -> None:
    parts = open_voc(make_voc(tmp_path))
    assert parts.name == "VOC 2012 (train)"
    assert parts.fit.names == ("2007_000032.png", "2007_000039.png")
    assert parts.test.names == ("2011_003276.png",)
    np.testing.assert_array_equal(parts.fit.read(1)[1], label_with(0, 1, 20, IGNORED))


@pytest.mark.parametrize("name", ["trainaug.txt", "train_aug.txt"])
def test_augmented_labels_are_learnt_from_and_the_published_ones_scored(
    tmp_path: Path, name: str
) -> None:
    lists = make_voc(tmp_path, augmented=True) / "ImageSets" / "Segmentation"
    (lists / "trainaug.txt").rename(lists / name)
    parts = open_voc(tmp_path)
    assert parts.name == "VOC 2012 (trainaug)"
    assert [Path(name).stem for name in parts.fit.names] == [
        "2007_000032",
        "2007_000039",
        "2008_000002",
    ]
    np.testing.assert_array_equal(parts.fit.read(0)[1], label_with(0, 7))
    np.testing.assert_array_equal(parts.test.read(0)[1], label_with(0, 3, 20, IGNORED))


def test_classes_are_those_of_the_challenge(tmp_path: Path) -> None:
    classes = open_voc(make_voc(tmp_path)).classes
    assert len(classes.names) == 21
    assert classes.background == classes.names.index("background") == 0
    assert classes.scored == tuple(range(21))
    named = {"aeroplane": 1, "cat": 8, "person": 15, "tvmonitor": 20}
    assert {name: classes.names.index(name) for name in named} == named
    assert classes.lookup == (*range(21), *[-1] * (255 - 21), IGNORED)


def test_names_with_the_paths_of_both_files_will_do(tmp_path: Path) -> None:
    make_voc(tmp_path, augmented=True)
    names = ("2007_000032", "2008_000002")
    lines = (f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png" for name in names)
    save_list(tmp_path / "ImageSets/Segmentation/trainaug.txt", *lines)
    assert open_voc(tmp_path).fit.names == ("2007_000032.png", "2008_000002.png")


@pytest.mark.bad_input
def test_half_of_the_augmented_set_is_refused(tmp_path: Path) -> None:
    """With 1,464 images for 10,582, the number would be another one in silence."""
    listed = make_voc(tmp_path, augmented=True) / "ImageSets/Segmentation/trainaug.txt"
    text = listed.read_text()
    listed.unlink()
    message = r"must hold both SegmentationClassAug and .*trainaug.txt or neither, got only {};"
    with pytest.raises(DataError, match=message.format("SegmentationClassAug")):
        open_voc(tmp_path)
    listed.write_text(text)
    (tmp_path / "SegmentationClassAug").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=message.format("trainaug.txt")):
        open_voc(tmp_path)


@pytest.mark.bad_input
def test_voc_2007_is_not_taken_for_it(tmp_path: Path) -> None:
    make_voc(tmp_path)
    save_list(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000032", "000063")
    with pytest.raises(DataError, match=r"val.txt' must be those of VOC 2012, .*got '000063'"):
        open_voc(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_list_is_named(tmp_path: Path, part: str) -> None:
    listed = make_voc(tmp_path) / "ImageSets" / "Segmentation" / f"{part}.txt"
    listed.unlink()
    with pytest.raises(DataError, match=rf"'{listed}' must be a list of images.*No such file"):
        open_voc(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("JPEGImages/2007_000039.jpg", r"JPEGImages' must hold the 2 .*train.txt', got all but 1"),
        ("SegmentationClass/2011_003276.png", r"SegmentationClass' must hold the 1 .*'2011_0032"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, path: str, message: str) -> None:
    (make_voc(tmp_path) / path).unlink()
    (tmp_path / "SegmentationClass" / "2007_000001.png").write_bytes(b"")  # not quite empty
    with pytest.raises(DataError, match=message):
        open_voc(tmp_path)


@pytest.mark.bad_input
def test_values_above_20_are_refused(tmp_path: Path) -> None:
    save_label(make_voc(tmp_path) / "SegmentationClass/2007_000032.png", ALL_BYTES)
    with pytest.raises(DataError, match=r"got \[21, 22, .*; these labels have 0 to 20, 255$"):
        open_voc(tmp_path).fit.read(0)
