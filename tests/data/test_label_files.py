"""Images with label files: paired right, read right, or refused with one clear error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwise.data.class_list import IGNORED, ClassList, official_classes
from patchwise.data.label_files import LabelledFolder, open_listed, open_matched, read_names
from patchwise.errors import DataError
from tests.data.layouts.trees import (
    ALL_BYTES,
    HEIGHT,
    WIDTH,
    label_with,
    save_image,
    save_label,
    save_list,
)

# The classes b and a have the values 5 and 3; 9 does not count.
CLASSES: ClassList = official_classes(("a", "b"), {3: 0, 5: 1}, [9], parts=("fit", "test"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("one", "two", "three")):
        save_image(tmp_path / "images" / f"{name}.jpg", number)
        save_label(tmp_path / "labels" / f"{name}.png", label_with(*(3, 5, 9)[: 1 + number]))
    save_list(tmp_path / "list.txt", "two", "one")
    return tmp_path


def listed(root: Path) -> LabelledFolder:
    return open_listed(root / "images", root / "labels", root / "list.txt", CLASSES)


def matched(root: Path, **options: tuple[str, str]) -> LabelledFolder:
    return open_matched(root / "images", root / "labels", CLASSES, **options)


def test_values_are_looked_up(root: Path) -> None:
    image, label = listed(root).read(0)
    assert image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(label, label_with(0, 1))
    np.testing.assert_array_equal(matched(root).label(1), label_with(0, 1, IGNORED))
    assert label.dtype == np.uint8


def test_a_list_says_which_images_and_in_which_order(root: Path) -> None:
    part = listed(root)
    assert len(part) == len(part.images) == 2
    assert [part.images.path(index).name for index in range(2)] == ["two.jpg", "one.jpg"]
    assert part.names == ("two.png", "one.png")


def test_all_images_are_in_the_order_of_their_names(root: Path) -> None:
    part = matched(root)
    assert part.names == ("one.png", "three.png", "two.png")
    for index, name in enumerate(part.names):
        assert part.images.path(index).stem == Path(name).stem


def test_endings_tell_which_labels_are_meant(root: Path) -> None:
    for name in ("one", "two", "three"):
        save_label(root / "labels" / f"{name}_colours.png", label_with(77))
    for name in ("one", "two", "three"):
        (root / "images" / f"{name}.jpg").rename(root / "images" / f"{name}_left.jpg")
        (root / "labels" / f"{name}.png").rename(root / "labels" / f"{name}_ids.png")
    part = matched(root, endings=("_left.jpg", "_ids.png"))
    assert part.names == ("one_ids.png", "three_ids.png", "two_ids.png")


def test_lists_may_name_both_files_and_end_as_they_like(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a_1\r\n\n/JPEGImages/b_2.jpg /Labels/b_2.png\n c.d.jpg \nimages/e.f")
    assert read_names(path) == [b"a_1", b"b_2", b"c.d", b"e.f"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"list.txt' must be a list of images, one a line, got No such file"),
        ("", r"must name at least one image and each once, got 0 names"),
        ("\n \n", r"must name at least one image and each once, got 0 names"),
        ("a\nb\na\n", r"must name at least one image and each once, got 3 names, 1 of them again"),
        ("a\n\na.jpg b.png\n", r"must name one image, got 'a.jpg b.png' in line 3"),
        ("two\nfour\nfive\n", r"images' must hold the 3 .*list.txt', got all but 2, such as 'four"),
    ],
)
def test_wrong_lists_are_named(root: Path, content: str | None, message: str) -> None:
    path = root / "list.txt"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        listed(root)


@pytest.mark.bad_input
def test_listed_files_that_are_missing_are_named_and_counted(root: Path) -> None:
    (root / "labels" / "two.png").unlink()
    message = r"labels' must hold the 2 files named in .*, got all but 1, such as 'two.png'"
    with pytest.raises(DataError, match=message):
        listed(root)
    for path in root.glob("labels/*"):
        path.unlink()
    (root / "labels").rmdir()
    with pytest.raises(DataError, match=r"labels' must be a folder, got none; there are images$"):
        listed(root)


@pytest.mark.bad_input
def test_unknown_values_are_named_with_those_there_are(root: Path) -> None:
    save_label(root / "labels" / "two.png", ALL_BYTES)
    message = r"two.png' must be .*got \[0, 1, 2, 4, 6\]; these labels have 3, 5, 9$"
    for read in (listed(root).read, listed(root).label):
        with pytest.raises(DataError, match=message):
            read(0)


@pytest.mark.bad_input
def test_an_image_is_turned_as_viewers_show_it_and_labels_must_be_so(root: Path) -> None:
    path = root / "images" / "two.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.open(path).save(path, exif=exif)
    message = (
        rf"two.png' must be as large as its image, {WIDTH} x {HEIGHT}, turned by its EXIF "
        rf"orientation, got {HEIGHT} x {WIDTH}; labels go with what a viewer shows"
    )
    with pytest.raises(DataError, match=message):
        listed(root).read(0)
    save_label(root / "labels" / "two.png", label_with(3).T)
    image, label = listed(root).read(0)
    assert image.shape[:2] == label.shape == (WIDTH, HEIGHT)


@pytest.mark.bad_input
def test_labels_of_another_size_are_named(root: Path) -> None:
    save_label(root / "labels" / "two.png", label_with(3)[1:])
    message = rf"as large as its image, {HEIGHT} x {WIDTH}, got {HEIGHT - 1} x {WIDTH}$"
    with pytest.raises(DataError, match=message):
        listed(root).read(0)


def test_the_fingerprint_knows_all_that_counts(root: Path) -> None:
    """Names and sizes of images, bytes of labels, their order, the table; not where they lie."""
    first = listed(root).fingerprint()
    seen = {first}

    def changed() -> bool:
        seen.add(listed(root).fingerprint())
        return len(seen) == len(changes) + 1

    changes = ["order"]
    save_list(root / "list.txt", "one", "two")
    assert changed()
    changes.append("image")
    save_image(root / "images" / "two.jpg", 9)
    assert changed()
    changes.append("label")
    save_label(root / "labels" / "two.png", label_with(5, 3))
    assert changed()
    changes.append("list")
    save_list(root / "list.txt", "one", "two", "three")
    assert changed()
    other = official_classes(("a", "b"), {3: 0, 5: 1, 7: 1}, [9], parts=("fit", "test"))
    part = open_listed(root / "images", root / "labels", root / "list.txt", other)
    assert part.fingerprint() not in seen
    last = listed(root).fingerprint()
    (root / "labels").rename(root / "masks")
    part = open_listed(root / "images", root / "masks", root / "list.txt", CLASSES)
    assert part.fingerprint() == last
