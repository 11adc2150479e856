"""Names of files, whatever they are made of, as a terminal, a shell and a list take them."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from patchwise.data.folder import printable
from patchwise.data.source import FileSource, ImageSource
from patchwise.data.tar import TarSource
from patchwise.errors import DataError


def one_line(text: str) -> str:
    """Return text without line breaks or anything else that a terminal would act on."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def name_within(source: ImageSource, index: int) -> str:
    """Return what to call an image where it is clear which source is meant."""
    if isinstance(source, FileSource | TarSource):
        return printable(source.files.name(index))
    return source.describe(index)


def shell_line(words: Sequence[str]) -> str:
    r"""Return a command as it can be pasted into a shell.

    >>> shell_line(["train", "my photos", "new\nline"])
    "train 'my photos' $'new\\nline'"
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    r"""Write a word as ``$'...'`` with ``\x..`` outside ASCII, which bash and zsh take."""
    signs = {ord("\n"): "\\n", ord("'"): "\\'", ord("\\"): "\\\\"}
    codes = os.fsencode(word)
    text = (signs.get(c) or (chr(c) if 32 <= c < 127 else f"\\x{c:02x}") for c in codes)
    return f"$'{''.join(text)}'"


def check_list(path: Path, source: ImageSource) -> FileSource:
    """Return ``source`` if a list of some of its images can be written to ``path``.

    Raises:
        DataError: There is such a file, it cannot be read as a list, or the images are in no files.
    """
    if not isinstance(source, FileSource):
        raise DataError(
            f"doctor: write_list must be left out unless data is a folder or a list, "
            f"got it with {source.name!r}, whose images have no paths"
        )
    if path.suffix.lower() != ".txt":
        raise DataError(f"doctor: write_list must end in .txt, got {str(path)!r}")
    if os.path.lexists(path):
        raise DataError(
            f"doctor: write_list must be a new file, got {str(path)!r}, which exists; "
            f"delete it, or choose another name"
        )
    if not path.parent.is_dir():
        raise DataError(
            f"doctor: write_list must lie in a folder that exists, got {str(path.parent)!r}"
        )
    return source


def list_lines(path: Path, source: FileSource, indices: Iterable[int]) -> tuple[list[bytes], int]:
    """Return the paths of some images as the lines of a list that lies at ``path``.

    Paths are relative to the list if it lies in a folder above the images, so that both can be
    moved together; else absolute.

    Returns:
        The lines for `open_source`, and how many images have paths that no line can hold.
    """
    above = os.fsencode(os.path.realpath(path.parent)) + b"/"
    lines, left_out = [], 0
    for index in indices:
        whole = os.fsencode(os.path.abspath(source.path(index)))
        line = b"./" + whole.removeprefix(above) if whole.startswith(above) else whole
        if b"\n" in line or line.endswith(b"\r"):
            left_out += 1
        else:
            lines.append(line + b"\n")
    return lines, left_out
