"""Images with a class for every pixel: read right, or refused with one clear error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from patchwise.data.class_list import IGNORED
from patchwise.data.segmentation import (
    SCENES_SEED,
    SegmentationData,
    is_segmentation,
    open_segmentation,
)
from patchwise.data.synthetic import CATEGORIES, render_scenes
from patchwise.errors import ChoiceError, DataError
from tests.data.layouts.trees import MAKERS, label_with, make_cifar10, make_voc, save_label

CLASSES: Any = ["ground", "cat", "dog"]


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images to learn from, one to test on, in sizes of their own."""
    for part, names in {"train": ("a", "sub/b"), "val": ("c",)}.items():
        for name in names:
            side = 20 + len(name)
            label = (np.arange(side * 30).reshape(side, 30) % 3).astype(np.uint8)
            save(tmp_path / "images" / part / f"{name}.png", np.full((side, 30, 3), 90, np.uint8))
            save(tmp_path / "labels" / part / f"{name}.png", label)
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(CLASSES))
    return tmp_path


def describe(root: Path, **keys: Any) -> SegmentationData:
    (root / "classes.yaml").write_text(yaml.safe_dump({"classes": CLASSES, **keys}))
    return open_segmentation(root)


def test_images_go_with_the_labels_of_their_name(root: Path) -> None:
    data = open_segmentation(root)
    assert (len(data.fit), len(data.test)) == (2, 1)
    assert data.classes == ("ground", "cat", "dog")
    assert data.scored == (0, 1, 2)
    assert data.background is None
    image, label = data.fit.read(1)
    assert image.shape == (25, 30, 3)
    np.testing.assert_array_equal(label, np.arange(750).reshape(25, 30) % 3)


def test_a_json_list_will_do(root: Path) -> None:
    (root / "classes.yaml").unlink()
    (root / "classes.json").write_text(json.dumps(CLASSES))
    assert open_segmentation(root).classes == ("ground", "cat", "dog")


def test_classes_may_have_values_of_their_own(root: Path) -> None:
    (root / "classes.yaml").write_text("classes: {2: dog, 0: ground}\nignore: [1]\n")
    data = open_segmentation(root)
    assert data.classes == ("dog", "ground")
    _, label = data.fit.read(0)
    values = np.arange(21 * 30).reshape(21, 30) % 3
    np.testing.assert_array_equal(label, np.array([1, IGNORED, 0])[values])


def test_what_is_scored_ignored_and_background_is_named(root: Path) -> None:
    data = describe(root, ignore=[2, 255], background="ground", scored=["cat", "ground"])
    assert data.scored == (1, 0)
    assert data.background == 0
    assert set(np.unique(data.test.read(0)[1])) == {0, 1, IGNORED}
    assert describe(root, ignore=[2]).scored == (0, 1)


def test_parts_may_have_other_names(root: Path) -> None:
    assert len(describe(root, fit="val", test="train").test) == 2


def test_palette_values_are_classes_and_not_colours(root: Path) -> None:
    path = root / "labels/train/a.png"
    palette = Image.fromarray(np.asarray(Image.open(path)), mode="P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(path)
    np.testing.assert_array_equal(
        open_segmentation(root).fit.read(0)[1], np.arange(21 * 30).reshape(21, 30) % 3
    )


def test_the_fingerprint_knows_files_classes_and_scored_ones(root: Path) -> None:
    first = open_segmentation(root).fingerprint()
    assert open_segmentation(root).fingerprint() == first
    others = {
        describe(root, scored=["cat"]).fingerprint(),
        describe(root, ignore=[2]).fingerprint(),
        describe(root, background="cat").fingerprint(),
        describe(root, fit="val", test="train").fingerprint(),
    }
    save(root / "images/val/d.png", np.zeros((20, 20, 3), np.uint8))
    save(root / "labels/val/d.png", np.zeros((20, 20), np.uint8))
    others.add(describe(root).fingerprint())
    assert len(others | {first}) == 6


def test_scenes_are_held_out_and_have_exact_masks() -> None:
    data = open_segmentation("scenes", size_px=96)
    assert data.classes == ("background", *CATEGORIES)
    assert data.background == 0
    expected = render_scenes(np.array([400, 433]), size_px=96, seed=SCENES_SEED)
    for place, index in enumerate((0, 33)):
        image, label = data.test.read(index)
        np.testing.assert_array_equal(image, expected.images[place])
        np.testing.assert_array_equal(label, expected.semantic[place])
    assert data.fingerprint() != open_segmentation("scenes").fingerprint()


def test_such_data_are_told_from_class_folders(root: Path, tmp_path: Path) -> None:
    assert is_segmentation(root)
    assert is_segmentation("scenes")
    assert not is_segmentation(tmp_path / "images")
    (root / "classes.yaml").unlink()
    assert is_segmentation(root)  # images and labels: a class list is missing, which is said


@pytest.mark.parametrize(
    ("layout", "name", "counts", "classes"),
    [
        ("ade20k", "ADE20K", (2, 1), 150),
        ("cityscapes", "Cityscapes", (3, 1), 19),
        ("coco-stuff-27", "COCO-Stuff-27 (Coco164kFull_Stuff_Coarse, Coco164k", (2, 1), 27),
        ("pixels", "mine", (1, 1), 2),
        ("voc", "VOC 2012 (train)", (2, 1), 21),
    ],
)
def test_published_sets_are_opened_as_they_lie(
    tmp_path: Path, layout: str, name: str, counts: tuple[int, int], classes: int
) -> None:
    folder, make = MAKERS[layout]
    root = make(tmp_path / folder)
    data = open_segmentation(root)
    assert is_segmentation(root)
    assert data.name.startswith(name)
    assert (len(data.fit), len(data.test), len(data.classes)) == (*counts, classes)
    assert data.background == (0 if layout == "voc" else None)
    for part in (data.fit, data.test):
        image, label = part.read(len(part) - 1)
        assert image.shape[:2] == label.shape
        assert set(np.unique(label)) <= {*range(classes), IGNORED}
    said = open_segmentation(f"{layout}:{root}")
    assert said.fingerprint() == data.fingerprint()


def test_a_published_set_may_be_read_by_a_list_of_ones_own(tmp_path: Path) -> None:
    root = make_voc(tmp_path)
    (root / "classes.yaml").write_text("[a, b]")
    for kind, part in (("images", "train"), ("labels", "train"), ("images", "val")):
        save_label(root / kind / part / "a.png", label_with(1))
    save_label(root / "labels" / "val" / "a.png", label_with(0))
    assert open_segmentation(root).classes == ("a", "b")
    assert open_segmentation(f"voc:{root}").classes[0] == "background"


def test_the_fingerprint_tells_which_lists_and_labels_were_used(tmp_path: Path) -> None:
    plain, augmented = make_voc(tmp_path / "a"), make_voc(tmp_path / "b", augmented=True)
    digests = {open_segmentation(root).fingerprint() for root in (plain, augmented)}
    listed = augmented / "ImageSets/Segmentation/trainaug.txt"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:2]))
    digests.add(open_segmentation(augmented).fingerprint())
    assert len(digests) == 3


@pytest.mark.bad_input
def test_folders_of_other_layouts_and_wrong_names_are_refused(tmp_path: Path) -> None:
    root = make_cifar10(tmp_path)
    with pytest.raises(DataError, match="open_segmentation: data must have a class for every pix"):
        open_segmentation(root)
    assert not is_segmentation(root)
    for ask in (open_segmentation, is_segmentation):
        with pytest.raises(ChoiceError, match="got 'ade'; did you mean 'ade20k'"):
            ask(f"ade:{root}")


def test_a_folder_in_ones_home_is_known(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    assert is_segmentation(f"~/{root.name}")
    assert len(open_segmentation(f"~/{root.name}").fit) == 2


@pytest.mark.bad_input
def test_a_missing_label_and_a_missing_image_are_named(root: Path) -> None:
    (root / "labels/train/a.png").unlink()
    with pytest.raises(DataError, match=r"got 1 images without and 0 labels.*image 'a.png'"):
        open_segmentation(root)
    save(root / "labels/train/a.png", np.zeros((21, 30), np.uint8))
    save(root / "labels/train/x.png", np.zeros((21, 30), np.uint8))
    with pytest.raises(DataError, match=r"got 0 images without and 1 labels.*label 'x.png'"):
        open_segmentation(root)


@pytest.mark.bad_input
def test_a_missing_part_is_named_with_what_there_is(root: Path) -> None:
    with pytest.raises(DataError, match=r"images/test' must be a folder.*there are train, val"):
        describe(root, test="test")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((21, 30), 7, np.uint8), r"values in '.*a.png' must be classes.*got \[7\]"),
        (np.zeros((30, 21), np.uint8), r"as large as its image, 21 x 30, got 30 x 21"),
        (np.zeros((21, 30, 3), np.uint8), r"8-bit grey or palette PNG.*got 8-bit RGB PNG"),
        (np.zeros((21, 30), np.uint16), r"8-bit grey or palette PNG.*got 16-bit grey PNG"),
    ],
)
def test_wrong_labels_are_named(root: Path, values: np.ndarray, message: str) -> None:
    save(root / "labels/train/a.png", values)
    with pytest.raises(DataError, match=message):
        open_segmentation(root).fit.read(0)


@pytest.mark.bad_input
def test_labels_that_would_lose_values_are_refused(root: Path) -> None:
    """Pillow stretches grey values of fewer than 8 bits; JPEG changes them."""
    path = root / "labels/train/a.png"
    Image.fromarray(np.zeros((21, 30), np.uint8)).convert("1").save(path)
    with pytest.raises(DataError, match=r"8-bit grey or palette PNG.*got 1-bit grey PNG"):
        open_segmentation(root).fit.read(0)
    Image.fromarray(np.zeros((21, 30), np.uint8)).save(path, format="JPEG")
    with pytest.raises(DataError, match=r"8-bit grey or palette PNG.*got 8-bit grey JPEG"):
        open_segmentation(root).fit.read(0)


@pytest.mark.bad_input
def test_labels_are_png_files_one_an_image(root: Path) -> None:
    Image.fromarray(np.zeros((21, 30), np.uint8)).save(root / "labels/train/a.tif")
    with pytest.raises(DataError, match=r"must be one PNG for each image, got 3 files for 2 names"):
        open_segmentation(root)


def test_changed_labels_change_the_fingerprint(root: Path) -> None:
    before = open_segmentation(root)
    first = before.fingerprint()
    path = root / "labels/train/a.png"
    label = np.asarray(Image.open(path)).copy()
    label[0, 0] = 2 - label[0, 0]
    Image.fromarray(label).save(path)
    assert before.fingerprint() != first
    assert open_segmentation(root).fingerprint() == before.fingerprint() != first


@pytest.mark.bad_input
def test_a_damaged_label_is_named(root: Path) -> None:
    (root / "labels/train/a.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"a.png' must be a readable label PNG, got"):
        open_segmentation(root).fit.read(0)
