"""The images of an uncompressed tar archive, read one by one where they lie in it."""

import os
import posixpath
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from patchwise.data.folder import FileList, printable
from patchwise.data.header import ImageHeader, read_header
from patchwise.data.images import SUFFIXES, ImageLimits, ImageProblem, decode_image
from patchwise.errors import DataError

_BLOCK = 512  # bytes; archives are made of such blocks
_MAX_LINKS = 8  # links that may lead to links, one after the other


@dataclass(frozen=True)
class TarSource:
    """Images in an archive, in the order in which a folder with the same content would be read."""

    path: Path
    files: FileList
    starts: Int64[np.ndarray, " N"]  # where the bytes of each image begin in the archive
    limits: ImageLimits

    @property
    def name(self) -> str:
        """The archive, for messages."""
        return str(self.path)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Decode one image; see `decode_image`."""
        return decode_image(self._open(index), name=self.describe(index), limits=self.limits)

    def header(self, index: int) -> ImageHeader:
        """Read what the header of one member's content says."""
        return read_header(self._open(index), name=self.describe(index))

    def describe(self, index: int) -> str:
        """Return the archive and the path in it."""
        return f"{self.name}/{printable(self.files.name(index))}"

    def fingerprint(self) -> str:
        """Return a digest of paths and sizes; that of a folder with the same files is the same."""
        return self.files.fingerprint()

    def _open(self, index: int) -> BytesIO:
        size = int(self.files.sizes[index])
        if size < 0:
            raise ImageProblem(
                f"TarSource: {self.describe(index)!r} must be a file, "
                f"got a link to nothing in the archive",
                reason="unreadable",
            )
        try:
            with self.path.open("rb") as archive:  # opened each time: nothing shared by processes
                archive.seek(int(self.starts[index]))
                content = archive.read(size)
        except OSError as error:
            raise ImageProblem(
                f"TarSource: {self.name!r} must be a readable file, got {error.strerror}",
                reason="unreadable",
            ) from error
        return BytesIO(content)


def open_tar(path: Path, *, limits: ImageLimits) -> TarSource:
    """Find all images of an uncompressed archive.

    Links to other members are followed; of members with the same path the last counts. Names that
    begin with a dot are skipped, as in folders.

    Raises:
        DataError: ``path`` is not a whole, uncompressed archive, or holds no image.
    """
    try:
        found = _members(path)
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"open_tar: {str(path)!r} must be a whole, uncompressed tar archive, got {error}"
        ) from error
    if not found:
        raise DataError(
            f"open_tar: {str(path)!r} must hold images ({' '.join(SUFFIXES)}), got none"
        )
    names = sorted(found)
    files = FileList.of((name, found[name][1]) for name in names)
    return TarSource(path, files, np.array([found[n][0] for n in names], np.int64), limits)


def _members(path: Path) -> dict[bytes, tuple[int, int]]:
    """Return where the bytes of each image begin and how many there are."""
    places: dict[bytes, tuple[int, int]] = {}
    links: dict[bytes, bytes] = {}
    with tarfile.open(path, "r:", errors="surrogateescape") as archive:
        for member in archive:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            name = _normal(member.name)
            if member.issparse():
                raise tarfile.TarError(f"the sparse file {member.name!r}")
            if member.isreg():
                places[name] = (member.offset_data, member.size)
                links.pop(name, None)
            elif member.islnk() or member.issym():
                above = posixpath.dirname(member.name) if member.issym() else ""
                links[name] = _normal(posixpath.join(above, member.linkname))
        _check_end(path, archive.offset)
    for name in links:
        target = name
        for _ in range(_MAX_LINKS):
            target = links.get(target, target)
        places[name] = (0, -1) if target in links else places.get(target, (0, -1))
    return {name: place for name, place in places.items() if _is_wanted(name)}


def _check_end(path: Path, offset: int) -> None:
    """Raise if what ended the list of members is a damaged header; tarfile takes it for the end."""
    with path.open("rb") as archive:
        archive.seek(offset)
        if archive.read(_BLOCK).strip(b"\0"):
            raise tarfile.TarError(f"a damaged header at byte {offset}")


def _normal(name: str) -> bytes:
    return os.fsencode(posixpath.normpath(name).lstrip("/"))


def _is_wanted(name: bytes) -> bool:
    hidden = any(part.startswith(b".") for part in name.split(b"/"))
    return not hidden and name.lower().endswith(tuple(s.encode() for s in SUFFIXES))
