"""A reader sees the file before or the file after, never something between."""

import os
from pathlib import Path

import pytest

from patchwise.files import atomic_path, remove_leftovers, write_text


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename works within one file system only
        assert temporary.name.startswith(".")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def stop_while_writing(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, "old"])
def test_nothing_changes_when_writing_fails(
    tmp_path: Path, error: BaseException, before: str | None
) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(type(error)):
        stop_while_writing(path, error)
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_content_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write, fsync of the file, rename, fsync of the folder, in this order."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        events.append(f"fsync {'file' if name.endswith('.partial') else name}")
        fsync(descriptor)

    def recorded_replace(path: Path, target: Path) -> Path:
        events.append(f"rename to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    write_text(tmp_path / "a.txt", "x")
    assert events == ["fsync file", "rename to a.txt", f"fsync {tmp_path.name}"]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        write_text(tmp_path / "a.txt", "x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_text_is_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größe ≤ 1\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe ≤ 1\n".encode()


@pytest.mark.bad_input
def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "x")


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in (".a.txt.123.partial", "inner/.b.4.partial"):
        (tmp_path / name).touch()
    for name in ("a.txt", "mine.partial", "inner/.hidden"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"a.txt", "mine.partial", "inner/.hidden"}
