"""Many vectors: in memory where there is room, else on the disk."""

import shutil
import tempfile
from types import TracebackType
from typing import IO

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_positive, check_within
from patchwise.errors import DataError

_READ = 2**24  # numbers that are handed out at a time


class Vectors:
    """A list of vectors, rounded to ``dtype``, written in any order and read in blocks.

    They are the same, bit for bit, wherever they are kept: with more than ``memory_bytes``, in a
    file of the folder for temporary files (``TMPDIR``). It has no name there, so that nothing is
    left behind, however the process ends. To be used in a ``with`` statement.

    Raises:
        DataError: The disk has too little room.
    """

    def __init__(
        self, count: int, dim: int, *, memory_bytes: int, dtype: torch.dtype = torch.float16
    ) -> None:
        check_positive("Vectors", dim=dim)
        self.shape, self.dtype = (count, dim), dtype
        self._file: IO[bytes] | None = None
        self._held: Float[Tensor, "N D"] | None = None
        size = count * dim * dtype.itemsize
        if size <= memory_bytes:
            self._held = torch.zeros(self.shape, dtype=dtype)
            return
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DataError(
                f"Vectors: the folder for temporary files must have {size / 2**30:.1f} GiB free, "
                f"got {free / 2**30:.1f} in '{folder}'; set TMPDIR to another one"
            )
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed on exit
        self._file.truncate(size)

    def __len__(self) -> int:
        return self.shape[0]

    def __enter__(self) -> "Vectors":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the room on the disk back; what was kept there is lost."""
        if self._file is not None:
            self._file.close()

    @property
    def on_disk(self) -> bool:
        """Whether they are kept in a file."""
        return self._file is not None

    @property
    def block(self) -> int:
        """Vectors that are best read at a time: the same wherever they are kept."""
        return max(1, _READ // self.shape[1])

    def write(self, first: int, vectors: Float[Tensor, "N D"]) -> None:
        """Set some vectors, from number ``first`` on; each number is rounded."""
        check_within("Vectors.write", 0, len(self) - len(vectors), first=first)
        kept = vectors.detach().to(self.dtype).cpu().contiguous()
        if self._held is not None:
            self._held[first : first + len(kept)] = kept
        elif self._file is not None:
            self._file.seek(first * self.shape[1] * self.dtype.itemsize)
            left = _bytes(kept)
            while len(left):
                left = left[self._file.write(left) :]

    def read(self, first: int, stop: int) -> Float[Tensor, "N D"]:
        """Return the vectors of number ``first`` to before ``stop``, in float32 or finer."""
        check_within("Vectors.read", 0, len(self), first=first, stop=stop)
        finer = torch.promote_types(self.dtype, torch.float32)
        if self._held is not None:
            return self._held[first:stop].to(finer, copy=True)
        kept = torch.empty((max(0, stop - first), self.shape[1]), dtype=self.dtype)
        if self._file is not None:
            self._file.seek(first * self.shape[1] * self.dtype.itemsize)
            left = _bytes(kept)
            while len(left):
                left = left[self._file.readinto(left) :]  # type: ignore[attr-defined]
        return kept.to(finer)


def _bytes(values: Float[Tensor, "N D"]) -> memoryview:
    return values.reshape(-1).view(torch.uint8).numpy().data
