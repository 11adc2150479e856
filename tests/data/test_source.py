"""Opening images by what names them."""

import dataclasses
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from patchwise.data.images import ImageLimits, ImageProblem
from patchwise.data.source import (
    FileSource,
    ImageSource,
    LabelledArrays,
    LabelledSource,
    open_labelled,
    open_source,
)
from patchwise.data.synthetic import Scenes
from patchwise.errors import DataError, RangeError
from tests.data.conftest import Photo, SavePhotos


def message(data: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        open_source(data)
    return str(caught.value)


def labelled_message(data: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        open_labelled(data)
    return str(caught.value)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder(as_text: bool, tmp_path: Path, save_photos: SavePhotos, photo: Photo) -> None:
    save_photos(tmp_path, ["b/0.png", "b/1.png", "c d/2.png"])
    source = open_source(str(tmp_path) if as_text else tmp_path)
    assert len(source) == 3
    assert source.name == str(tmp_path)
    for index in (2, 0, 1):
        np.testing.assert_array_equal(source.read(index), photo(index, 20 + index, 24 + index))
    assert source.describe(2) == f"{tmp_path}/c d/2.png"


def test_a_source_survives_a_change_of_the_working_folder(
    tmp_path: Path, save_photos: SavePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photos(tmp_path, ["x/0.png"])
    (tmp_path / "x.txt").write_text("x/0.png")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x", "x")
    monkeypatch.chdir(tmp_path)
    sources = [open_source(name) for name in ("x", "x.txt", "x.tar")]
    monkeypatch.chdir("/")
    assert [source.read(0).shape for source in sources] == [(20, 24, 3)] * 3


def test_the_home_folder(
    tmp_path: Path, save_photos: SavePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photos(tmp_path, ["x/0.png"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_source("~/x")) == 1


def test_a_source_can_be_sent_to_a_worker(tmp_path: Path, save_photos: SavePhotos) -> None:
    save_photos(tmp_path, ["a.png", "b.png"])
    source = open_source(tmp_path)
    sent: ImageSource = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(sent.read(1), source.read(1))


@pytest.mark.bad_input
def test_limits_reach_the_images(tmp_path: Path, save_photos: SavePhotos) -> None:
    save_photos(tmp_path, ["a.png"])
    (tmp_path / "x.txt").write_text("a.png")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    for data in (tmp_path, tmp_path / "x.txt", tmp_path / "x.tar"):
        with pytest.raises(ImageProblem, match="at least 50 px"):
            open_source(data, limits=ImageLimits(min_side_px=50)).read(0)


def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system only takes text")
    source = open_source(tmp_path)
    source.describe(0).encode()
    assert source.describe(0).endswith(r"/\xff.png")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_list_keeps_its_order(
    end: str, start: str, tmp_path: Path, save_photos: SavePhotos, photo: Photo
) -> None:
    paths = save_photos(tmp_path / "in here", ["z ü.png", "a.png", "#.png"])
    lines = ["in here/z ü.png", "", "# a comment", "  ", str(paths[1]), "in here/#.png"]
    list_file = tmp_path / "list.TXT"
    list_file.write_bytes((start + end.join(lines)).encode())
    source = open_source(list_file)
    assert len(source) == 3
    for index in range(3):
        np.testing.assert_array_equal(source.read(index), photo(index, 20 + index, 24 + index))
    assert source.describe(1) == str(paths[1])


def test_the_order_and_sizes_of_a_list_are_in_its_fingerprint(
    tmp_path: Path, save_photos: SavePhotos
) -> None:
    save_photos(tmp_path, ["a.png", "b.png"])
    digests = set()
    for number, content in enumerate(["a.png\nb.png", "b.png\na.png", "a.png\nb.png\na.png"]):
        (tmp_path / f"{number}.txt").write_text(content)
        digests.add(open_source(tmp_path / f"{number}.txt").fingerprint())
    (tmp_path / "a.png").write_bytes(b"another")
    digests.add(open_source(tmp_path / "0.txt").fingerprint())
    assert len(digests) == 4


@pytest.mark.bad_input
@pytest.mark.parametrize("line", ["none.png", "folder", "nul\0.png"])
def test_a_missing_file_is_named_with_its_line(
    line: str, tmp_path: Path, save_photos: SavePhotos
) -> None:
    save_photos(tmp_path, ["a.png", "folder/b.png"])
    (tmp_path / "list.txt").write_text(f"# comment\na.png\n\n{line}\n")
    assert message(tmp_path / "list.txt") == (
        f"open_source: every path in {str(tmp_path / 'list.txt')!r} must be that of a file, "
        f"got {line!r} in line 4; paths are relative to the list"
    )


@pytest.mark.bad_input
def test_a_list_of_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# only this\n\n")
    assert "must name at least one image" in message(tmp_path / "list.txt")
    assert "got only blank lines and comments" in message(tmp_path / "list.txt")


def test_an_archive(tmp_path: Path, save_photos: SavePhotos) -> None:
    save_photos(tmp_path / "x", ["a.png", "b.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x", "")
    packed, loose = open_source(tmp_path / "x.tar"), open_source(tmp_path / "x")
    assert packed.fingerprint() == loose.fingerprint()


@pytest.mark.bad_input
@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip"])
def test_compressed_archives_are_refused_with_advice(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").touch()
    assert message(tmp_path / f"x{suffix}").endswith(
        "; unpack it, or pack the images into a plain .tar: images hardly get smaller"
    )


@pytest.mark.bad_input
def test_a_single_image_is_refused_with_advice(tmp_path: Path, save_photos: SavePhotos) -> None:
    (path,) = save_photos(tmp_path, ["a.png"])
    assert message(path) == (
        f"open_source: data must be a folder, a .txt list or a .tar archive, "
        f"got the file {str(path)!r}; give the folder that holds the images"
    )


@pytest.mark.bad_input
def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    for name in ("none", "none.txt", "none.tar"):
        assert message(tmp_path / name) == (
            f"open_source: data must be a folder, a .txt list, a .tar archive, 'scenes' or "
            f"'scenes:COUNT', got {str(tmp_path / name)!r}, which does not exist"
        )


@pytest.mark.bad_input
def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    assert message(tmp_path).endswith("got no file at all")


def test_synthetic_scenes() -> None:
    assert len(open_source("scenes")) == 10_000
    source = open_source("scenes:7")
    assert len(source) == 7
    assert source.fingerprint() == Scenes(7).fingerprint()
    np.testing.assert_array_equal(source.read(3), Scenes(7).read(3))


def test_a_folder_may_be_called_scenes(
    tmp_path: Path, save_photos: SavePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photos(tmp_path, ["scenes/a.png"])
    monkeypatch.chdir(tmp_path)
    assert len(open_source("./scenes")) == len(open_source(Path("scenes"))) == 1


@pytest.mark.bad_input
@pytest.mark.parametrize("count", ["", "0", "-3", "many", "1.5", "²"])
def test_a_count_of_scenes_must_be_a_number(count: str) -> None:
    assert message(f"scenes:{count}") == (
        f"open_source: data must be 'scenes:COUNT' with a whole number above 0, "
        f"got {f'scenes:{count}'!r}"
    )


def test_classes_are_sorted_by_name_and_may_be_nested(
    tmp_path: Path, save_photos: SavePhotos
) -> None:
    # "cat-2/" sorts before "cat/" as a path, and after it as a name.
    save_photos(tmp_path, ["dog/a.png", "cat/deep/er/b.png", "cat-2/c.png", "cat/d.png"])
    (tmp_path / "empty").mkdir()
    source = open_labelled(tmp_path)
    assert source.classes == ("cat", "cat-2", "dog")
    assert source.labels.dtype == np.int64
    for index in range(4):
        relative = Path(source.describe(index)).relative_to(tmp_path)
        assert source.classes[source.labels[index]] == relative.parts[0]
    assert sorted(source.labels.tolist()) == [0, 0, 1, 2]
    assert isinstance(source, FileSource)
    assert source.read(0).shape[2] == 3


@pytest.mark.bad_input
def test_one_class_is_too_few(tmp_path: Path, save_photos: SavePhotos) -> None:
    save_photos(tmp_path, ["cat/a.png", "cat/b.png"])
    assert labelled_message(tmp_path) == (
        f"open_labelled: {str(tmp_path)!r} must hold at least two folders with images, "
        f"one for each class, got only 'cat'"
    )


@pytest.mark.bad_input
def test_images_without_a_class_are_never_left_out(tmp_path: Path, save_photos: SavePhotos) -> None:
    save_photos(tmp_path, ["cat/a.png", "dog/b.png", "c.png", "d.png"])
    assert labelled_message(tmp_path) == (
        f"open_labelled: every image must lie in the folder of its class, "
        f"got 2 directly in {str(tmp_path)!r}, such as 'c.png'"
    )


@pytest.mark.bad_input
def test_labelled_data_must_be_a_folder(tmp_path: Path) -> None:
    assert labelled_message(tmp_path / "none").endswith("none', which is not there")
    (tmp_path / "x.tar").touch()
    assert labelled_message(tmp_path / "x.tar").endswith("x.tar', which is a file")
    assert labelled_message(tmp_path / "x.tar").startswith(
        "open_labelled: data must be a folder with one folder for each class, got "
    )


def arrays() -> LabelledArrays:
    images = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    return LabelledArrays("tiny", images, np.array([1, 0, 1]), ("a", "b"))


def test_images_in_memory_are_a_labelled_source() -> None:
    source = arrays()
    assert isinstance(source, LabelledSource)
    assert (len(source), source.name) == (3, "tiny")
    np.testing.assert_array_equal(source.read(1), source.images[1])
    source.read(1)[:] = 0
    assert source.images[1].any()
    assert source.describe(2) == "tiny, image 2"


def test_the_fingerprint_of_images_in_memory_is_that_of_their_pixels() -> None:
    source = arrays()
    again = arrays()
    assert again.fingerprint() == source.fingerprint()
    flipped = dataclasses.replace(source, images=source.images[:, ::-1])
    shaped = dataclasses.replace(source, images=source.images.reshape(3, 5, 4, 3))
    digests = {one.fingerprint() for one in (source, flipped, shaped)}
    again.images[2, 3, 4, 2] += 1
    assert len(digests | {again.fingerprint()}) == 4


@pytest.mark.bad_input
@pytest.mark.parametrize("index", [-1, 3])
def test_there_are_no_other_images_in_memory(index: int) -> None:
    with pytest.raises(RangeError, match=rf"index must lie in \[0, 3\), got {index}"):
        arrays().read(index)
