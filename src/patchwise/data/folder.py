"""The image files of a folder: listed once, kept compactly, and checked cheaply the next time."""

import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from patchwise.data.images import SUFFIXES
from patchwise.errors import DataError, RangeError

_CACHE_VERSION = 1
# A folder can change twice within one tick of its file system's clock, so that its time stays the
# same. Ticks are at most 2 s (FAT), so a listing of anything younger is not kept.
_RACY_NS = 2_000_000_000
_BYTE_SUFFIXES = tuple(suffix.encode() for suffix in SUFFIXES)


@dataclass(frozen=True)
class FileList:
    """Paths and sizes of files. A million take some 60 MB, and few objects to send to a worker."""

    names: bytes  # paths with "/" between folders, a NUL after each
    ends: Int64[np.ndarray, " N"]  # where each path ends in ``names``
    sizes: Int64[np.ndarray, " N"]  # in bytes when listed; -1 for a link to nothing

    @classmethod
    def of(cls, files: Iterable[tuple[bytes, int]]) -> "FileList":
        """Return the list of (path, size), in the order given."""
        pairs = list(files)
        lengths = np.fromiter((len(name) + 1 for name, _ in pairs), np.int64, len(pairs))
        sizes = np.fromiter((size for _, size in pairs), np.int64, len(pairs))
        return cls(b"".join(name + b"\0" for name, _ in pairs), lengths.cumsum() - 1, sizes)

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> bytes:
        """Return one path as the file system spells it."""
        if not 0 <= index < len(self):
            raise RangeError(f"FileList: index must lie in [0, {len(self)}), got {index}")
        start = self.ends[index - 1] + 1 if index else 0
        return self.names[start : self.ends[index]]

    def all_names(self) -> list[bytes]:
        """Return all paths."""
        return self.names.split(b"\0")[:-1]

    def fingerprint(self) -> str:
        """Return a digest of all paths and of the sizes the files had when they were listed.

        It notices files that were added, removed, renamed or (once listed again) changed in size.
        It does not notice other content of the same size, nor, as long as the listing is kept, a
        file that was overwritten in place: that leaves its folder unchanged.
        """
        digest = hashlib.sha256(self.names)
        digest.update(b"\0" + self.sizes.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass
class _Scan:
    """What a folder holds, with all that is needed to tell later whether it changed."""

    files: list[tuple[bytes, int]] = field(default_factory=list)
    folders: list[bytes] = field(default_factory=list)
    times: list[tuple[int, int]] = field(default_factory=list)  # modified, changed, in ns
    other_suffixes: Counter[str] = field(default_factory=Counter)
    dead_links: int = 0  # what they lead to may appear without any folder changing


def list_folder(folder: Path) -> FileList:
    """Return all images below ``folder``, sorted by the bytes of their path relative to it.

    Images are the regular files, and links to one or to nothing, with a known suffix in any case.
    Names that begin with a dot are skipped. A link to a folder is followed unless it leads to a
    folder it lies in.

    The list is kept in the user's cache folder (`PATCHWISE_CACHE`, or `patchwise` in
    `XDG_CACHE_HOME`, or `~/.cache/patchwise`) and used again for as long as no folder of the tree
    has changed. Nothing is kept if that cannot be written.

    Raises:
        DataError: ``folder`` or one below it cannot be read, or there is no image.
    """
    root = os.path.realpath(folder)
    kept = _cache_file(root)
    files = _read_cache(kept, root)
    if files is not None:
        return files
    started = time.time_ns()
    scan = _scan_tree(os.fsencode(root))
    if not scan.files:
        seen = ", ".join(f"{n} {suffix}" for suffix, n in scan.other_suffixes.most_common(8))
        raise DataError(
            f"list_folder: {str(folder)!r} must hold images ({' '.join(SUFFIXES)}), "
            f"got {f'only other files: {seen}' if seen else 'no file at all'}"
        )
    files = FileList.of(sorted(scan.files))
    newest = max(max(times) for times in scan.times)
    if not scan.dead_links and newest < started - _RACY_NS:
        _write_cache(kept, root, files, scan)
    return files


def _scan_tree(root: bytes) -> _Scan:
    scan = _Scan()
    # Of each folder still to be read: its path relative to the root, with "/" at its end, and the
    # identities of the folders it lies in.
    waiting: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(b"", frozenset())]
    while waiting:
        prefix, above = waiting.pop()
        try:
            status = os.stat(root + b"/" + prefix)  # first: a change during the reading is noticed
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                continue
            scan.folders.append(prefix)
            scan.times.append((status.st_mtime_ns, status.st_ctime_ns))
            inner = _scan_folder(root, prefix, scan)
        except OSError as error:
            raise DataError(
                f"list_folder: {os.fsdecode(root + b'/' + prefix)!r} must be a readable folder, "
                f"got {error.strerror}; correct it or move it elsewhere"
            ) from error
        waiting.extend((name, above | {identity}) for name in inner)
    return scan


def _scan_folder(root: bytes, prefix: bytes, scan: _Scan) -> list[bytes]:
    """Add the files of one folder to ``scan`` and return the folders in it."""
    inner = []
    with os.scandir(root + b"/" + prefix) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith(b"."):
                continue
            dead = entry.is_symlink() and not os.path.exists(entry.path)
            scan.dead_links += dead
            if entry.is_dir():
                inner.append(name + b"/")
            elif not entry.name.lower().endswith(_BYTE_SUFFIXES):
                suffix = os.path.splitext(os.fsdecode(entry.name))[1]
                scan.other_suffixes[suffix or "without suffix"] += 1
            elif dead:
                scan.files.append((name, -1))  # listed, so that reading it says what is wrong
            elif entry.is_file():  # neither a pipe nor a device
                scan.files.append((name, entry.stat().st_size))
    return inner


def _cache_file(root: str) -> Path:
    base = os.environ.get("PATCHWISE_CACHE")
    if not base:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        base = os.path.join(home, "patchwise")
    key = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return Path(base) / "listings" / f"{key}.npz"


def _read_cache(file: Path, root: str) -> FileList | None:
    """Return the kept list if every folder still has the times it had, otherwise None."""
    base = os.fsencode(root)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            if kept["version"] != _CACHE_VERSION or kept["root"].tobytes() != base:
                return None
            folders = kept["folders"].tobytes().split(b"\0")[:-1]
            for folder, times in zip(folders, kept["times"].tolist(), strict=True):
                status = os.stat(base + b"/" + folder)
                if [status.st_mtime_ns, status.st_ctime_ns] != times:
                    return None
            return FileList(kept["names"].tobytes(), kept["ends"], kept["sizes"])
    except Exception:  # missing, damaged, or a folder is gone: list again
        return None


def _write_cache(file: Path, root: str, files: FileList, scan: _Scan) -> None:
    """Keep the list, all at once; do nothing if that is not possible."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as spare:
            whole = Path(spare) / file.name
            np.savez(
                whole,
                version=np.array(_CACHE_VERSION),
                root=np.frombuffer(os.fsencode(root), np.uint8),
                folders=np.frombuffer(b"".join(f + b"\0" for f in scan.folders), np.uint8),
                times=np.array(scan.times, np.int64),
                names=np.frombuffer(files.names, np.uint8),
                ends=files.ends,
                sizes=files.sizes,
            )
            os.replace(whole, file)
    except OSError:
        return


def printable(name: bytes) -> str:
    """Return a path as text that can be printed and written whatever bytes it is made of."""
    return name.decode("utf-8", errors="backslashreplace")
