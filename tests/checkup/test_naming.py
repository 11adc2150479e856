"""Names come back as they were: from a shell, from a list; and a terminal is left alone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from patchwise.checkup.naming import check_list, list_lines, name_within, one_line, shell_line
from patchwise.data.source import FileSource, open_source
from patchwise.errors import DataError

NAMES = [
    "a.png", "with space.png", "[red]x.png", "日本 ü.png", "'\"$(touch x)`.png", "#.png",
    " .png", "new\nline.png", "tab\t.png", "bell\a\x1b[31m.png", os.fsdecode(b"\xff\xfe.png"),
    "\\x41.png", "\r.png",
]  # fmt: skip


def save(root: Path, names: list[str]) -> FileSource:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (20, 20)).save(root / "plain.bmp")
        os.replace(root / "plain.bmp", root / name)
    source = open_source(root)
    assert isinstance(source, FileSource)
    return source


def write_list(path: Path, source: FileSource, indices: list[int]) -> int:
    lines, left_out = list_lines(path, source, indices)
    path.write_bytes(b"".join(lines))
    return left_out


@pytest.mark.parametrize("name", NAMES)
def test_one_line_is_printable_and_tells_names_apart(name: str) -> None:
    line = one_line(name)
    assert line.isprintable()
    assert line.encode()
    if name.isprintable():
        assert line == name


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", [*NAMES, "", "-", "~", "\t'q' \\ and\nmore", "\t1"])
def test_a_shell_reads_back_every_word(name: str) -> None:
    line = shell_line(["printf", "%s|%s", name, "end"])
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name) + b"|end"


@pytest.mark.parametrize("where", [".", "..", "elsewhere"])
def test_a_list_names_the_same_files(where: str, tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "photos", NAMES)
    folder = source.root / where
    folder.mkdir(exist_ok=True)
    path = folder / "good.txt"
    indices = [index for index in range(len(source)) if index % 3]
    wanted = {source.path(index).resolve() for index in indices}
    breaks = {file for file in wanted if "\n" in file.name}
    assert write_list(path, source, indices) == len(breaks)
    again = open_source(path)
    assert isinstance(again, FileSource)
    assert {again.path(index).resolve() for index in range(len(again))} == wanted - breaks


def test_a_list_above_its_images_moves_with_them(tmp_path: Path) -> None:
    source = save(tmp_path / "a" / "photos", ["x.png"])
    write_list(tmp_path / "a" / "good.txt", source, [0])
    assert (tmp_path / "a" / "good.txt").read_text() == "./photos/x.png\n"
    (tmp_path / "a").rename(tmp_path / "b")
    open_source(tmp_path / "b" / "good.txt").read(0)


def test_a_list_beside_a_folder_of_the_same_beginning_is_absolute(tmp_path: Path) -> None:
    source = save(tmp_path / "photos 2", ["x.png"])
    (tmp_path / "photos").mkdir()
    write_list(tmp_path / "photos" / "good.txt", source, [0])
    assert (tmp_path / "photos" / "good.txt").read_text() == f"{tmp_path}/photos 2/x.png\n"


def test_images_are_named_within_their_source(tmp_path: Path) -> None:
    source = save(tmp_path / "x", ["a.png"])
    assert name_within(source, 0) == "a.png"
    assert name_within(open_source("scenes:3"), 2) == "scene 2"
    shutil.make_archive(str(tmp_path / "x"), "tar", tmp_path, "x")
    assert name_within(open_source(tmp_path / "x.tar"), 0) == "x/a.png"


@pytest.mark.bad_input
def test_what_cannot_be_a_list_is_refused_at_once(tmp_path: Path) -> None:
    source = save(tmp_path / "x", ["a.png"])
    (tmp_path / "is.txt").touch()
    (tmp_path / "dead.txt").symlink_to(tmp_path / "nowhere")
    assert check_list(tmp_path / "new.txt", source) is source
    for path, message in {
        tmp_path / "new.csv": "must end in .txt",
        tmp_path / "is.txt": "must be a new file",
        tmp_path / "dead.txt": "must be a new file",
        tmp_path / "none" / "new.txt": "must lie in a folder that exists",
    }.items():
        with pytest.raises(DataError, match=f"doctor: write_list {message}, got "):
            check_list(path, source)
    with pytest.raises(DataError, match="unless data is a folder or a list, got it with"):
        check_list(tmp_path / "new.txt", open_source("scenes:3"))
