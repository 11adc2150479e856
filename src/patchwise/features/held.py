"""What is needed several times: held where memory allows, made again where not."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor


class Held:
    """Rows in batches, in an order that never changes, which may be gone through again and again.

    The first time they are made; if all of them take ``most_bytes`` or less, they are held on the
    CPU from then on. Else they are made anew every time.
    """

    def __init__(self, make: Callable[[], Iterable[Tensor]], *, rows: int, most_bytes: int) -> None:
        self._make, self._rows, self._most_bytes = make, rows, most_bytes
        self._held: Sequence[Tensor] | None = None

    def __iter__(self) -> Iterator[Tensor]:
        if self._held is not None:
            yield from self._held
            return
        held: Tensor | None = None
        sizes: list[int] = []
        for batch in self._make():
            if not sizes and self._rows * batch[0].nbytes <= self._most_bytes:
                held = torch.empty(self._rows, *batch.shape[1:], dtype=batch.dtype)
            if held is not None:
                held[sum(sizes) :][: len(batch)] = batch
            sizes.append(len(batch))
            yield batch
        if held is not None:
            self._held = torch.split(held, sizes)
