"""From what a user names to data of a kind."""

from pathlib import Path

import pytest

from patchwise.api.data import open_data, open_labels, short_protocols, short_side_px
from patchwise.data.labelled import LabelledData, open_labelled_data
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import ImageSource
from patchwise.errors import DataError
from tests.data.layouts.trees import make_cifar10, make_voc
from tests.eval.tiny import colour_data, save_colours, save_pixels


def test_a_name_is_opened_as_the_kind_that_is_asked_for(tmp_path: Path) -> None:
    root = save_colours(tmp_path, {"train": 6, "val": 4})
    assert isinstance(open_data(root, "labelled"), LabelledData)
    assert isinstance(open_data("scenes", "segmentation"), SegmentationData)
    images = open_data(root, "images")
    assert isinstance(images, ImageSource)
    assert len(images) == 10


def test_labelled_data_serve_as_images_with_those_that_are_scored(tmp_path: Path) -> None:
    labelled = open_labelled_data(save_colours(tmp_path / "two", {"train": 6, "val": 4}))
    assert open_data(labelled, "images") is labelled.test
    alone = open_labelled_data(save_colours(tmp_path / "one", {"": 4}))
    assert open_data(alone, "images") is alone.fit
    pixels = colour_data()
    assert open_data(pixels, "images") is pixels  # whose labels some protocols use
    assert open_data(alone.fit, "images") is alone.fit


def test_what_is_open_is_taken_as_it_is(tmp_path: Path) -> None:
    labelled = open_labelled_data(save_colours(tmp_path, {"": 4}))
    pixels = colour_data()
    assert open_data(labelled, "labelled") is labelled
    assert open_data(pixels, "segmentation") is pixels


def test_the_kind_may_follow_from_the_data(tmp_path: Path) -> None:
    assert isinstance(open_labels("scenes"), SegmentationData)
    assert isinstance(open_labels(save_colours(tmp_path, {"": 4})), LabelledData)


def test_published_data_are_of_the_kind_that_they_are(tmp_path: Path) -> None:
    cifar, voc = make_cifar10(tmp_path / "cifar"), make_voc(tmp_path / "voc")
    for kind, data in ((LabelledData, cifar), (SegmentationData, voc)):
        assert isinstance(open_labels(data), kind)
    assert isinstance(open_labels(f"voc:{voc}"), SegmentationData)
    assert isinstance(open_labels(f"cifar10:{cifar}"), LabelledData)
    assert isinstance(open_data(voc, "images"), SegmentationData)
    assert isinstance(open_data("scenes:9", "images"), ImageSource)


def test_the_short_side_is_that_of_the_images(tmp_path: Path) -> None:
    labelled = open_labelled_data(save_colours(tmp_path, {"": 4}))  # 40 x 50
    assert short_side_px(labelled) == 40
    assert short_side_px(labelled.fit) == 40
    assert short_side_px(colour_data()) == 32


def test_the_first_short_protocol_is_the_quick_one(tmp_path: Path) -> None:
    labelled = open_labelled_data(save_colours(tmp_path, {"": 4}))
    assert short_protocols(labelled) == ("knn/dino-short",)
    assert short_protocols(colour_data())[0] == "knn/patches-short"


@pytest.mark.bad_input
def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have a class for each image, got SegmentationData"):
        open_data(colour_data(), "labelled")
    labelled = open_labelled_data(save_colours(tmp_path / "classes", {"": 4}))
    with pytest.raises(DataError, match="must have a class for each pixel, got LabelledData"):
        open_data(labelled, "segmentation")
    with pytest.raises(DataError, match=r"class for each image, got '.*pixels' with a class"):
        open_data(save_pixels(tmp_path / "pixels"), "labelled")
    with pytest.raises(DataError, match="must have a class for each image, got LabelledFiles"):
        open_data(labelled.fit, "labelled")
