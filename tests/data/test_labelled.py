"""Labelled images in one part or two."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwise.data.labelled import open_labelled_data
from patchwise.data.source import LabelledSource
from patchwise.errors import DataError
from tests.data.layouts.trees import make_cifar10, make_cifar100


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)
    return root


def test_two_parts_share_the_classes_of_the_first(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "train/cow/1", "val/bee/1", "val/cow/1")
    data = open_labelled_data(tmp_path)
    assert data.fit.classes == ("ant", "bee", "cow")
    assert data.test is not None
    assert data.test_labels.tolist() == [1, 2]


def test_one_part_is_its_own_test(tmp_path: Path) -> None:
    data = open_labelled_data(make(tmp_path, "ant/1", "ant/2", "bee/1"))
    assert data.test is None
    assert data.test_labels.tolist() == [0, 0, 1]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = open_labelled_data(make(tmp_path, "train/1", "test/2", "plane/3"))
    assert data.test is None
    assert data.fit.classes == ("plane", "test", "train")


def test_hidden_and_empty_folders_are_no_parts(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "valid/bee/1", "valid/ant/1", ".cache/x/1")
    (tmp_path / "empty").mkdir()
    assert open_labelled_data(tmp_path).test is not None


@pytest.mark.parametrize("make", [make_cifar10, make_cifar100], ids=["10", "100"])
def test_cifar_is_opened_as_it_lies(tmp_path: Path, make: Callable[..., Path]) -> None:
    name, layout = ("CIFAR-10", "cifar10") if make is make_cifar10 else ("CIFAR-100", "cifar100")
    root = make(tmp_path / "a")
    data = open_labelled_data(root)
    assert data.name == name
    assert isinstance(data.fit, LabelledSource)
    assert data.test is not None
    assert data.test_labels.tolist() == data.test.labels.tolist()
    assert data.fit.read(0).shape == (32, 32, 3)
    binary = open_labelled_data(f"{layout}:{make(tmp_path / 'b', binary=True)}")
    assert binary.fingerprint() == data.fingerprint()


def test_the_fingerprint_knows_pixels_and_labels_in_memory(tmp_path: Path) -> None:
    root = make_cifar10(tmp_path, binary=True)
    seen = {open_labelled_data(root).fingerprint()}
    for file, place in (("data_batch_5.bin", 0), ("test_batch.bin", -1)):
        content = bytearray((root / file).read_bytes())
        content[place] ^= 1
        (root / file).write_bytes(bytes(content))
        seen.add(open_labelled_data(root).fingerprint())
    assert len(seen) == 3


@pytest.mark.bad_input
def test_folders_are_classes_if_one_says_so(tmp_path: Path) -> None:
    make(tmp_path, "JPEGImages/1", "ImageSets/2")
    with pytest.raises(DataError, match=r"one class for each image, got voc in .*classes:/"):
        open_labelled_data(tmp_path)
    assert open_labelled_data(f"classes:{tmp_path}").fit.classes == ("ImageSets", "JPEGImages")


@pytest.mark.bad_input
def test_validation_images_without_folders_are_not_a_class(tmp_path: Path) -> None:
    """ImageNet's come so; ``train`` and ``val`` would be taken for two classes."""
    make(tmp_path, "train/n01/1", "train/n02/1", "val/1", "val/2")
    with pytest.raises(DataError, match=r"images in '.*val' must lie in the folder .* ImageNet"):
        open_labelled_data(tmp_path)


@pytest.mark.bad_input
def test_three_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    names = (f"{part}/{name}/1" for part in ("train", "val", "test") for name in ("ant", "bee"))
    with pytest.raises(DataError, match=r"one other part, .* got test, train, val; give a folder"):
        open_labelled_data(make(tmp_path, *names))


def test_the_fingerprint_knows_files_and_parts(tmp_path: Path) -> None:
    names = ("train/ant/1", "train/bee/1", "val/bee/1", "val/ant/1")
    first = open_labelled_data(make(tmp_path / "a", *names)).fingerprint()
    assert open_labelled_data(make(tmp_path / "b", *names)).fingerprint() == first
    other = open_labelled_data(make(tmp_path / "c", *names, "val/ant/2")).fingerprint()
    assert other != first


@pytest.mark.bad_input
def test_unknown_classes_are_named(tmp_path: Path) -> None:
    make(tmp_path, "train/ant/1", "train/bee/1", "val/bee/1", "val/yak/1")
    with pytest.raises(DataError, match=r"must be among those of '.*train', got 1 others.*'yak'"):
        open_labelled_data(tmp_path)
