"""Listing folders: what is found, in which order, and when it is looked for again."""

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from patchwise.data import folder as folder_module
from patchwise.data.folder import FileList, list_folder, printable
from patchwise.errors import DataError, RangeError

Scans = list[bytes]


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def names(root: Path) -> list[str]:
    return [os.fsdecode(name) for name in list_folder(root).all_names()]


def tick() -> None:
    """Wait until the file system's clock has moved on."""
    time.sleep(0.03)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Scans:
    """Record each folder that is really read."""
    read: Scans = []
    scandir: Callable[[bytes], object] = os.scandir

    def record(path: bytes) -> object:
        if isinstance(path, bytes):  # text is the removal of spare folders
            read.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)
    return read


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let listings be kept at once, as if every folder had been left alone for a while."""
    monkeypatch.setattr(folder_module, "_RACY_NS", -10_000_000_000)


def test_images_are_found_at_any_depth_and_sorted_by_path(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/10.png", "a.jpg", "b-c/1.png", "Z.png", "b/d/e/f.gif", "é.png")
    expected = ["Z.png", "a.jpg", "b-c/1.png", "b/10.png", "b/2.png", "b/d/e/f.gif", "é.png"]
    assert names(tmp_path) == expected


def test_the_order_does_not_depend_on_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = [f"{i % 7}/{i * 37 % 50}.png" for i in range(50)]
    touch(tmp_path / "one", *created)
    touch(tmp_path / "two", *reversed(created))
    one = list_folder(tmp_path / "one")
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: bytes) -> None:
            self.entries = list(scandir(path))[::-1]

        def __enter__(self) -> list[os.DirEntry[bytes]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Reversed)
    two = list_folder(tmp_path / "two")
    assert one.names == two.names
    assert one.fingerprint() == two.fingerprint()


def test_suffixes_count_in_any_case_and_others_do_not(tmp_path: Path) -> None:
    wanted = ["a.JPG", "b.Jpeg", "c.png", "d.webp", "e.TIF", "f.tiff", "g.bmp", "h.gif"]
    touch(tmp_path, *wanted, "i.txt", "j.jpg.part", "png", "k.svg", "l.heic")
    assert names(tmp_path) == wanted


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".b.png", ".c/d.png", "e/.f/g.png")
    assert names(tmp_path) == ["a.png"]


def test_a_hidden_folder_can_be_listed_itself(tmp_path: Path) -> None:
    touch(tmp_path, ".images/a.png")
    assert names(tmp_path / ".images") == ["a.png"]


@pytest.mark.parametrize("name", ["with space.png", "new\nline.png", "日本.png", "#.png", "%.png"])
def test_any_name_is_kept(name: str, tmp_path: Path, settled: None) -> None:
    touch(tmp_path, name, "f\n/x.png")
    assert set(names(tmp_path)) == {name, "f\n/x.png"}
    assert set(names(tmp_path)) == {name, "f\n/x.png"}  # from the cache


def test_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    raw = b"\xff\xfe.png"
    try:
        (tmp_path / os.fsdecode(raw)).touch()
    except OSError:
        pytest.skip("this file system only takes text")
    assert list_folder(tmp_path).all_names() == [raw]
    assert printable(raw) == r"\xff\xfe.png"


def test_a_folder_with_the_suffix_of_an_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.png/b.png")
    assert names(tmp_path) == ["a.png/b.png"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", "elsewhere/b.png")
    (tmp_path / "real/c.png").symlink_to(tmp_path / "elsewhere/b.png")
    (tmp_path / "real/d").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "real") == ["a.png", "c.png", "d/b.png"]


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c.png")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/self").symlink_to(".")
    assert names(tmp_path) == ["a/b/c.png"]


def test_one_folder_linked_twice_is_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path, "pool/x.png", "images/y.png")
    for name in "ab":
        (tmp_path / "images" / name).symlink_to(tmp_path / "pool")
    assert names(tmp_path / "images") == ["a/x.png", "b/x.png", "y.png"]


def test_a_link_to_nothing_is_listed_but_never_kept(
    tmp_path: Path, settled: None, scans: Scans
) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "none.png")
    assert list_folder(tmp_path).sizes.tolist() == [-1]
    scans.clear()
    list_folder(tmp_path)
    assert scans


def test_pipes_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert names(tmp_path) == ["a.png"]


@pytest.mark.bad_input
def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError) as caught:
        list_folder(tmp_path)
    assert str(caught.value) == (
        f"list_folder: {str(tmp_path)!r} must hold images "
        f"(.jpg .jpeg .png .webp .tif .tiff .bmp .gif), got no file at all"
    )


@pytest.mark.bad_input
def test_a_folder_without_images_names_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "a.heic", "b/c.heic", "d.txt", "README")
    with pytest.raises(DataError, match=r"got only other files: 2 \.heic, ") as caught:
        list_folder(tmp_path)
    assert "1 .txt" in str(caught.value)
    assert "1 without suffix" in str(caught.value)


@pytest.mark.bad_input
def test_an_unreadable_folder_is_never_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.png", "locked/b.png")
    scandir: Callable[[bytes], object] = os.scandir

    def refuse(path: bytes) -> object:
        if b"locked" in path:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"locked/' must be a readable folder, got Permission den"):
        list_folder(tmp_path)


def test_a_second_listing_reads_no_folder(tmp_path: Path, settled: None, scans: Scans) -> None:
    touch(tmp_path, "a.png", "b/c.png")
    first = list_folder(tmp_path)
    assert len(scans) == 2
    scans.clear()
    again = list_folder(tmp_path)
    assert not scans
    assert again.names == first.names
    assert again.ends.tolist() == first.ends.tolist()
    assert again.sizes.tolist() == first.sizes.tolist() == [5, 7]
    assert again.fingerprint() == first.fingerprint()


def add(root: Path) -> None:
    touch(root, "b/new.png")


def add_deeper(root: Path) -> None:
    touch(root, "b/c/new.png")


def add_in_new_folder(root: Path) -> None:
    touch(root, "e/new.png")


def remove(root: Path) -> None:
    (root / "b/c/2.png").unlink()


def rename(root: Path) -> None:
    (root / "b/1.png").rename(root / "b/3.png")


def move(root: Path) -> None:
    (root / "b/1.png").rename(root / "b/c/1.png")


def rename_folder(root: Path) -> None:
    (root / "b").rename(root / "z")


def add_with_old_time(root: Path) -> None:
    """What unpacking a second part of an archive does: the folder's time is set back."""
    status = (root / "b").stat()
    touch(root, "b/new.png")
    os.utime(root / "b", ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = [add, add_deeper, add_in_new_folder, remove, rename, move, rename_folder]


@pytest.mark.parametrize("change", [*CHANGES, add_with_old_time])
def test_every_change_of_the_tree_is_noticed(
    change: Callable[[Path], None], tmp_path: Path, settled: None
) -> None:
    touch(tmp_path, "a.png", "b/1.png", "b/c/2.png")
    before = list_folder(tmp_path)
    tick()
    change(tmp_path)
    after = list_folder(tmp_path)
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert [os.fsdecode(name) for name in after.all_names()] == found
    assert after.fingerprint() != before.fingerprint()
    assert names(tmp_path) == found


def test_a_new_link_target_is_noticed(tmp_path: Path, settled: None) -> None:
    touch(tmp_path, "one/a.png", "two/b.png", "images/c.png")
    link = tmp_path / "images/link"
    link.symlink_to(tmp_path / "one")
    assert names(tmp_path / "images") == ["c.png", "link/a.png"]
    tick()
    touch(tmp_path, "one/d.png")
    assert names(tmp_path / "images") == ["c.png", "link/a.png", "link/d.png"]
    tick()
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert names(tmp_path / "images") == ["c.png", "link/b.png"]


def test_overwriting_in_place_is_noticed_only_by_a_new_listing(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented limit of the fingerprint."""
    touch(tmp_path, "a.png")
    before = list_folder(tmp_path)
    tick()
    (tmp_path / "a.png").write_bytes(b"another size")
    assert list_folder(tmp_path).fingerprint() == before.fingerprint()
    monkeypatch.setenv("PATCHWISE_CACHE", str(tmp_path / "cache"))
    after = list_folder(tmp_path)
    assert after.names == before.names
    assert after.fingerprint() != before.fingerprint()


def test_replacing_a_file_is_noticed(tmp_path: Path, settled: None) -> None:
    touch(tmp_path, "a.png")
    before = list_folder(tmp_path)
    tick()
    (tmp_path / "spare").write_bytes(b"another size")
    (tmp_path / "spare").rename(tmp_path / "a.png")
    assert list_folder(tmp_path).fingerprint() != before.fingerprint()


def test_a_young_folder_is_listed_again(tmp_path: Path, scans: Scans) -> None:
    """Its next change may fall into the same tick of the clock."""
    touch(tmp_path, "a.png")
    list_folder(tmp_path)
    scans.clear()
    list_folder(tmp_path)
    assert scans


def test_an_old_folder_is_kept_only_after_the_safe_time(
    tmp_path: Path, scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.png")
    changed = tmp_path.stat().st_ctime_ns
    for age_s, kept in [(1.9, False), (2.1, True)]:
        monkeypatch.setattr(time, "time_ns", lambda age_s=age_s: changed + int(age_s * 1e9))
        list_folder(tmp_path)
        scans.clear()
        list_folder(tmp_path)
        assert bool(scans) is not kept


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_damaged_cache_is_made_anew(
    content: bytes, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch, scans: Scans
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("PATCHWISE_CACHE", str(cache))
    touch(tmp_path, "images/a.png")
    list_folder(tmp_path / "images")
    (file,) = [path for path in cache.rglob("*") if path.is_file()]
    file.write_bytes(content)
    assert names(tmp_path / "images") == ["a.png"]
    scans.clear()
    assert names(tmp_path / "images") == ["a.png"]
    assert not scans


def test_without_a_place_to_write_it_works_all_the_same(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PATCHWISE_CACHE", str(tmp_path / "file"))
    touch(tmp_path, "a.png")
    assert names(tmp_path) == names(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"PATCHWISE_CACHE": "one", "XDG_CACHE_HOME": "two"}, "one"),
        ({"XDG_CACHE_HOME": "two", "HOME": "three"}, "two/patchwise"),
        ({"HOME": "three"}, "three/.cache/patchwise"),
    ],
)
def test_where_the_cache_lies(
    environment: dict[str, str],
    place: str,
    tmp_path: Path,
    settled: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PATCHWISE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    touch(tmp_path, "images/a.png")
    list_folder(tmp_path / "images")
    assert [path.suffix for path in (tmp_path / place / "listings").iterdir()] == [".npz"]


def test_two_folders_do_not_share_a_cache(tmp_path: Path, settled: None) -> None:
    touch(tmp_path, "one/a.png", "two/b.png")
    assert names(tmp_path / "one") == ["a.png"]
    assert names(tmp_path / "two") == ["b.png"]
    assert names(tmp_path / "one") == ["a.png"]


def test_a_list_is_compact_and_can_be_sent() -> None:
    files = FileList.of((f"folder/{i}.jpg".encode(), i) for i in range(1000))
    sent = pickle.loads(pickle.dumps(files))
    assert len(pickle.dumps(files)) < 1000 * (16 + 16) + 1000
    assert len(sent) == 1000
    for index in (0, 1, 9, 10, 999):
        assert sent.name(index) == f"folder/{index}.jpg".encode()
    assert sent.fingerprint() == files.fingerprint()


def test_the_fingerprint_knows_names_from_sizes() -> None:
    lists = [[(b"a", 1), (b"b", 2)], [(b"a", 2), (b"b", 1)], [(b"a\0b", 1)], [(b"a", 1), (b"b", 3)]]
    assert len({FileList.of(files).fingerprint() for files in lists}) == len(lists)


@pytest.mark.bad_input
@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_must_exist(index: int) -> None:
    files = FileList.of([(b"a", 0), (b"b", 0)])
    with pytest.raises(RangeError, match=rf"index must lie in \[0, 2\), got {index}"):
        files.name(index)


def test_arrays_of_a_kept_list_are_as_of_a_new_one(tmp_path: Path, settled: None) -> None:
    touch(tmp_path, "a.png")
    new, kept = list_folder(tmp_path), list_folder(tmp_path)
    assert new.ends.dtype == kept.ends.dtype == np.int64
    assert new.sizes.dtype == kept.sizes.dtype == np.int64
