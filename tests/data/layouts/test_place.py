"""Which layout a folder has: told by what it holds, or said; and what is said to one who errs."""

from pathlib import Path

import pytest

from patchwise.data.layouts.place import LAYOUTS, absolute_name, find_layout, kind_of
from patchwise.errors import ChoiceError, DataError
from tests.data.layouts.trees import MAKERS, make_ade20k, make_classes, make_pixels, make_voc


def find(data: str | Path, kind: str = "segmentation") -> tuple[str, Path]:
    return find_layout("test", data, kind)  # type: ignore[arg-type]


def test_every_layout_has_a_tree_here() -> None:
    assert MAKERS.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_tells_its_layout(tmp_path: Path, name: str) -> None:
    folder, make = MAKERS[name]
    root = make(tmp_path / folder)
    kind = LAYOUTS[name].kind
    assert find(root, kind) == find(f"{name}:{root}", kind) == (name, root)
    assert kind_of("test", root) == (None if name == "classes" else kind)
    assert kind_of("test", f"{name}:{root}") == kind


def test_a_list_of_classes_comes_before_what_the_folder_looks_like(tmp_path: Path) -> None:
    root = make_ade20k(tmp_path)
    (root / "classes.json").write_text("[a]")
    assert find(root) == ("pixels", root)
    assert find(f"ade20k:{root}") == ("ade20k", root)


def test_labels_beside_a_published_set_do_not_hide_it(tmp_path: Path) -> None:
    (make_ade20k(tmp_path) / "labels").mkdir()
    assert find(tmp_path) == ("ade20k", tmp_path)


def test_folders_may_have_colons_and_lie_in_ones_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc(tmp_path / "voc:a")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for data in ("voc:a", Path("voc:a"), root, "./voc:a", "~/voc:a", "voc:voc:a", "voc:~/voc:a"):
        assert find(data) == ("voc", root), data


def test_an_absolute_name_means_the_same_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert absolute_name("a") == absolute_name(Path("a")) == str(root)
    assert absolute_name("voc:a") == f"voc:{root}"


@pytest.mark.bad_input
@pytest.mark.parametrize("data", ["vco:/data", "cityscape:/data", "coco-stuff27:/data"])
def test_the_nearest_name_is_suggested(data: str) -> None:
    near = {"v": "voc", "ci": "cityscapes", "co": "coco-stuff-27"}
    expected = next(name for start, name in near.items() if data.startswith(start))
    for ask in (find, lambda data: kind_of("test", data), absolute_name):
        with pytest.raises(ChoiceError, match=rf"layout must be one of .*did you mean '{expected}"):
            ask(data)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", [name for name in MAKERS if LAYOUTS[name].usual])
def test_a_folder_around_is_told_what_to_give(tmp_path: Path, name: str) -> None:
    folder, make = MAKERS[name]
    root = make(tmp_path / folder)
    kind = LAYOUTS[name].kind
    around = {root.parent, tmp_path}
    for given in around:
        with pytest.raises(DataError, match=rf"data must be the folder of.*{name}.*give '{root}'"):
            find(given, kind)
        with pytest.raises(DataError, match=rf"must hold .* to be {name}, got .*; give '{root}'"):
            find(f"{name}:{given}", kind)
        assert kind_of("test", given) == kind


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("voc", "JPEGImages"),
        ("voc", "ImageSets"),
        ("ade20k", "images"),
        ("ade20k", "images/training"),
        ("ade20k", "annotations/training"),
        ("cityscapes", "gtFine"),
        ("coco-stuff-27", "images/train2017"),
    ],
)
def test_a_folder_inside_is_told_what_to_give(tmp_path: Path, name: str, inside: str) -> None:
    root = MAKERS[name][1](tmp_path)
    with pytest.raises(DataError, match=rf"a part of {name} or around it; give '{root}'$"):
        find(root / inside)
    with pytest.raises(DataError, match=rf"to be {name}, got .*; give '{root}'$"):
        find(f"{name}:{root / inside}")


def test_folders_that_lie_in_a_data_set_may_be_ones_own(tmp_path: Path) -> None:
    mine = make_pixels(make_voc(tmp_path) / "mine")
    assert find(mine) == ("pixels", mine)
    crops = make_classes(tmp_path / "crops")
    assert find(crops, "labelled") == ("classes", crops)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", MAKERS)
def test_data_of_the_other_kind_are_refused(tmp_path: Path, name: str) -> None:
    root = MAKERS[name][1](tmp_path)
    kind, default = ("segmentation", "pixels")
    holds, wanted = "one class for each image", "a class for every pixel"
    if LAYOUTS[name].kind == "segmentation":
        (kind, default), (holds, wanted) = ("labelled", "classes"), (wanted, holds)
    message = rf"data must have {wanted}, got {name} in '{root}', which has {holds}; choose.*"
    with pytest.raises(DataError, match=rf"{message}, or write {default}:{root}$"):
        find(f"{name}:{root}", kind)
    if name != "classes":
        with pytest.raises(DataError, match=message):
            find(root, kind)


@pytest.mark.bad_input
def test_two_layouts_in_one_folder_must_be_chosen_from(tmp_path: Path) -> None:
    make_voc(make_ade20k(tmp_path))
    for ask in (find, lambda data: kind_of("test", data)):
        with pytest.raises(DataError, match=rf"got ade20k and voc; write ade20k:{tmp_path}"):
            ask(tmp_path)
    assert find(f"voc:{tmp_path}") == ("voc", tmp_path)


@pytest.mark.bad_input
def test_a_folder_of_no_layout_is_told_all_there_are(tmp_path: Path) -> None:
    known = "must hold one of classes.yaml.*ade20k.*images/training and annotations.*, voc .*"
    with pytest.raises(DataError, match=rf"{known}, got nothing$"):
        find(tmp_path)
    for name in "hgfedcba":
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=rf"{known}, got a, b, c, d, e, f, \.\.\.$"):
        find(tmp_path)
    with pytest.raises(DataError, match=rf"{known}, got a file$"):
        find(tmp_path / "a")
    with pytest.raises(DataError, match=rf"{known}, got no such folder$"):
        find(tmp_path / "nowhere")
    assert kind_of("test", tmp_path) is None


@pytest.mark.bad_input
def test_a_name_said_wrongly_is_told_what_is_missing(tmp_path: Path) -> None:
    make_ade20k(tmp_path)
    message = "must hold JPEGImages and ImageSets to be voc, got annotations, images, objectInfo"
    with pytest.raises(DataError, match=message):
        find(f"voc:{tmp_path}")
    with pytest.raises(DataError, match=r"data_batch_1 or data_batch_1.bin to be cifar10, got an"):
        find(f"cifar10:{tmp_path}", "labelled")
