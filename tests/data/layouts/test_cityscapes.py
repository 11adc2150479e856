"""Cityscapes' 19 scored classes."""

from pathlib import Path

import numpy as np
import pytest

from patchwise.data.class_list import IGNORED
from patchwise.data.layouts.cityscapes import open_cityscapes
from patchwise.errors import DataError
from tests.data.layouts.trees import ALL_BYTES, label_with, make_cityscapes, save_label

VALUES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NAMES = (
    "road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky "
    "person rider car truck bus train motorcycle bicycle"
)


def test_values_become_the_train_ids(tmp_path: Path) -> None:
    classes = open_cityscapes(make_cityscapes(tmp_path)).classes
    assert classes.names == tuple(name.replace("_", " ") for name in NAMES.split())
    for value in range(34):
        expected = VALUES.index(value) if value in VALUES else IGNORED
        assert classes.lookup[value] == expected, value
    assert set(classes.lookup[34:255]) == {-1}
    assert classes.lookup[255] == IGNORED
    assert classes.scored == tuple(range(19))
    assert classes.background is None


def test_images_go_with_the_label_ids_of_their_city(tmp_path: Path) -> None:
    parts = open_cityscapes(make_cityscapes(tmp_path))
    assert parts.name == "Cityscapes"
    assert parts.fit.names == (
        "aachen/aachen_000000_000019_gtFine_labelIds.png",
        "aachen/aachen_000001_000019_gtFine_labelIds.png",
        "ulm/ulm_000_gtFine_labelIds.png",
    )
    assert parts.fit.images.path(2).name == "ulm_000_leftImg8bit.png"
    assert parts.test.names == ("lindau/lindau_000000_000019_gtFine_labelIds.png",)
    np.testing.assert_array_equal(parts.fit.read(0)[1], label_with(IGNORED, 0, 18))


def test_train_ids_are_taken_where_there_is_nothing_else(tmp_path: Path) -> None:
    both = open_cityscapes(make_cityscapes(tmp_path / "2", kinds=("labelIds", "labelTrainIds")))
    assert both.name == "Cityscapes"
    alone = open_cityscapes(make_cityscapes(tmp_path / "1", kinds=("labelTrainIds",)))
    assert alone.name == "Cityscapes (labelTrainIds)"
    assert alone.classes.names == both.classes.names
    assert alone.classes.lookup == (*range(19), *[-1] * 236, IGNORED)
    for index in range(3):
        np.testing.assert_array_equal(alone.fit.label(index), both.fit.label(index))


@pytest.mark.bad_input
def test_other_values_are_refused(tmp_path: Path) -> None:
    path = make_cityscapes(tmp_path) / "gtFine/train/ulm/ulm_000_gtFine_labelIds.png"
    save_label(path, ALL_BYTES)
    with pytest.raises(DataError, match=r"got \[34, 35, .*; these labels have 0 to 33, 255$"):
        open_cityscapes(tmp_path).fit.read(2)


@pytest.mark.bad_input
def test_an_image_without_labels_is_named(tmp_path: Path) -> None:
    (make_cityscapes(tmp_path) / "gtFine/train/ulm/ulm_000_gtFine_labelIds.png").unlink()
    message = r"got 1 images without and 0 labels .*image 'ulm/ulm_000_leftImg8bit.png'"
    with pytest.raises(DataError, match=message):
        open_cityscapes(tmp_path)


@pytest.mark.bad_input
def test_labels_without_images_are_named(tmp_path: Path) -> None:
    (make_cityscapes(tmp_path) / "leftImg8bit/train/ulm/ulm_000_leftImg8bit.png").unlink()
    with pytest.raises(DataError, match=r"got 0 images without and 1 labels .*label 'ulm/ulm_00"):
        open_cityscapes(tmp_path)


@pytest.mark.bad_input
def test_no_fine_labels_at_all_are_named(tmp_path: Path) -> None:
    make_cityscapes(tmp_path, kinds=())
    with pytest.raises(DataError, match=r"gtFine/train', got 3 images without and 0 labels"):
        open_cityscapes(tmp_path)
