"""Maps of a whole batch of which few images are computed at a time: in memory or on the disk.

Letters: B images, D channels, h w rows and columns.
"""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

from jaxtyping import Float
from torch import Tensor

from patchwise.features.vectors import Vectors


class Room:
    """Memory for maps: they are kept in it as long as there is room, then on the disk.

    They are the same, bit for bit, wherever they are. To be used in a ``with`` statement, at the
    end of which files are closed.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.left_bytes = memory_bytes
        self.files = ExitStack()

    def __enter__(self) -> "Room":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.files.close()


class KeptMaps:
    """Maps of one type and device, written and read a few images at a time.

    Args:
        parts: The maps of the images, in their order, some at a time.
        count: Images that there are, B.
        room: Where they are kept.
    """

    def __init__(
        self, parts: Iterable[Float[Tensor, "b D h w"]], *, count: int, room: Room
    ) -> None:
        self.count, self._room, first = count, room, 0
        for maps in parts:
            if first == 0:
                self._make(maps)
            self.write(first, maps)
            first += len(maps)
        assert first == count, "parts are those of all images"

    def _make(self, like: Tensor) -> None:
        _, dim, height, width = like.shape
        self._grid, self._device = (height, width, dim), like.device
        self._held: Tensor | None = None  # [B, h, w, D], which suits convolutions of features
        size = self.count * like[0].nbytes
        if size <= self._room.left_bytes:
            self._room.left_bytes -= size
            self._held = like.new_empty(self.count, *self._grid)
        else:
            self._file = self._room.files.enter_context(
                Vectors(self.count, math.prod(self._grid), memory_bytes=0, dtype=like.dtype)
            )

    def beside(self, parts: Iterable[Float[Tensor, "b D h w"]]) -> "KeptMaps":
        """Keep other maps of the same images in the same room."""
        return KeptMaps(parts, count=self.count, room=self._room)

    @property
    def on_disk(self) -> bool:
        """Whether they are kept in a file."""
        return self._held is None

    def write(self, first: int, maps: Float[Tensor, "b D h w"]) -> None:
        """Set the maps of some images, from number ``first`` on."""
        values = maps.detach().movedim(1, -1)
        if self._held is not None:
            self._held[first : first + len(maps)] = values
        else:
            self._file.write(first, values.flatten(1))

    def read(self, first: int, stop: int) -> Float[Tensor, "b D h w"]:
        """Return the maps of the images of number ``first`` to before ``stop``.

        They are not to be changed, and hold until they are written again.
        """
        if self._held is not None:
            values = self._held[first:stop]
        else:
            values = self._file.read(first, stop).reshape(-1, *self._grid).to(self._device)
        return values.movedim(-1, 1)

    def free(self) -> None:
        """Give the room back; the maps are lost."""
        if self._held is not None:
            self._room.left_bytes += self._held.nbytes
            self._held = None
        else:
            self._file.close()
