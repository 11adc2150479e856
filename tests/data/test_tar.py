"""Images read out of an archive."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from patchwise.data.folder import list_folder
from patchwise.data.images import ImageLimits, ImageProblem
from patchwise.data.source import FileSource
from patchwise.data.tar import TarSource, open_tar
from patchwise.errors import DataError
from tests.data.conftest import Photo, SavePhotos

LIMITS = ImageLimits()


def open_packed(path: Path) -> TarSource:
    return open_tar(path, limits=LIMITS)


def link(name: str, target: str, *, symbolic: bool) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE if symbolic else tarfile.LNKTYPE
    member.linkname = target
    return member


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_an_archive_is_read_as_the_folder_it_was_made_of(
    tar_format: int, tmp_path: Path, save_photos: SavePhotos
) -> None:
    folder = tmp_path / "images"
    deep = "d" * 60 + "/" + "e" * 70 + ".png"
    save_photos(folder, ["b.png", "a/2.png", "a b/ü.png", "new\nline.png", ".hidden.png", deep])
    (folder / "note.txt").write_text("none")
    with tarfile.open(tmp_path / "x.tar", "w", format=tar_format) as archive:
        archive.add(folder, arcname=".")
    packed = open_packed(tmp_path / "x.tar")
    loose = FileSource("images", folder, list_folder(folder), LIMITS)
    assert packed.files.names == loose.files.names
    assert packed.fingerprint() == loose.fingerprint()
    assert len(packed) == len(loose) == 5
    for index in reversed(range(5)):
        np.testing.assert_array_equal(packed.read(index), loose.read(index))
    assert packed.describe(0) == f"{tmp_path}/x.tar/a b/ü.png"
    assert packed.name == str(tmp_path / "x.tar")


def test_of_members_of_one_name_the_last_counts(tmp_path: Path, save_photos: SavePhotos) -> None:
    first, second = save_photos(tmp_path, ["1.png", "2.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(first, "a.png")
        archive.add(second, "./a.png")
    packed = open_packed(tmp_path / "x.tar")
    assert len(packed) == 1
    assert packed.files.sizes.tolist() == [second.stat().st_size]


@pytest.mark.parametrize("last", ["file", "link"])
def test_of_a_link_and_a_file_of_one_name_the_last_counts(
    last: str, tmp_path: Path, save_photos: SavePhotos
) -> None:
    first, second = save_photos(tmp_path, ["1.png", "2.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(first, "b.png")
        if last == "file":
            archive.addfile(link("a.png", "b.png", symbolic=True))
        archive.add(second, "a.png")
        if last == "link":
            archive.addfile(link("a.png", "b.png", symbolic=True))
    expected = {"file": second, "link": first}[last].stat().st_size
    assert open_packed(tmp_path / "x.tar").files.sizes.tolist() == [expected, first.stat().st_size]


def test_links_lead_to_members(tmp_path: Path, save_photos: SavePhotos, photo: Photo) -> None:
    (path,) = save_photos(tmp_path, ["1.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(link("a/early.png", "../b/1.png", symbolic=True))
        archive.add(path, "b/1.png")
        archive.addfile(link("c/hard.png", "b/1.png", symbolic=False))
        archive.addfile(link("c/twice.png", "hard.png", symbolic=True))
    packed = open_packed(tmp_path / "x.tar")
    assert [name.decode() for name in packed.files.all_names()] == [
        "a/early.png",
        "b/1.png",
        "c/hard.png",
        "c/twice.png",
    ]
    for index in range(4):
        np.testing.assert_array_equal(packed.read(index), photo(0, 20, 24))


@pytest.mark.bad_input
def test_a_link_to_nothing_is_a_bad_image(tmp_path: Path, save_photos: SavePhotos) -> None:
    (path,) = save_photos(tmp_path, ["1.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(path, "b.png")
        archive.addfile(link("a.png", "none.png", symbolic=True))
        archive.addfile(link("c.png", "d.png", symbolic=True))
        archive.addfile(link("d.png", "c.png", symbolic=True))
    packed = open_packed(tmp_path / "x.tar")
    assert packed.files.sizes.tolist() == [-1, path.stat().st_size, -1, -1]
    with pytest.raises(ImageProblem, match="must be a file, got a link to nothing") as caught:
        packed.read(0)
    assert caught.value.reason == "unreadable"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"text", "unreadable"), (b"BM" + b"\0" * 20, "truncated")],
)
def test_bad_members_are_named(content: bytes, reason: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a/b.png")
        member.size = len(content)
        archive.addfile(member, BytesIO(content))
    with pytest.raises(ImageProblem, match=r"x.tar/a/b.png' must ") as caught:
        open_packed(tmp_path / "x.tar").read(0)
    assert caught.value.reason == reason


@pytest.mark.bad_input
def test_an_archive_that_is_gone_is_unreadable(tmp_path: Path, save_photos: SavePhotos) -> None:
    (path,) = save_photos(tmp_path, ["1.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(path, "1.png")
    packed = open_packed(tmp_path / "x.tar")
    (tmp_path / "x.tar").unlink()
    with pytest.raises(ImageProblem, match=r"x\.tar' must be a readable file, got No such file"):
        packed.read(0)


@pytest.mark.bad_input
def test_an_archive_without_images_is_an_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(DataError, match=r"x.tar' must hold images \(.jpg .* .gif\), got none"):
        open_packed(tmp_path / "x.tar")


@pytest.mark.bad_input
@pytest.mark.parametrize("damage", ["text", "cut", "header", "compressed"])
def test_a_damaged_archive_is_an_error(
    damage: str, tmp_path: Path, save_photos: SavePhotos
) -> None:
    """A damaged header in the middle must not pass for the end."""
    path = tmp_path / "x.tar"
    mode: Literal["w:gz", "w:"] = "w:gz" if damage == "compressed" else "w:"
    with tarfile.open(path, mode, format=tarfile.USTAR_FORMAT) as archive:
        for photo_path in save_photos(tmp_path, ["1.png", "2.png", "3.png"]):
            archive.add(photo_path, photo_path.name)
    content = bytearray(path.read_bytes())
    if damage == "text":
        content[:] = b"This is text. " * 100
    elif damage == "cut":
        del content[5000:]
    elif damage == "header":
        content[content.index(b"2.png")] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar' must be a whole, uncompressed tar archive, got "):
        open_packed(path)


@pytest.mark.bad_input
def test_a_missing_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"uncompressed tar archive, got .*No such"):
        open_packed(tmp_path / "x.tar")
