"""What is needed several times: held where memory allows, made again where not."""

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor


class Held:
    """Tensors in an order that never changes, which may be gone through again and again.

    The first time they are made, and held on the CPU as long as they are not more than
    ``most_bytes``. Where they are more, none is held, and every time they are made anew.
    """

    def __init__(self, make: Callable[[], Iterable[Tensor]], *, most_bytes: int) -> None:
        self._make, self._most_bytes = make, most_bytes
        self._held: list[Tensor] = []
        self._whole = False  # whether all are held

    def __iter__(self) -> Iterator[Tensor]:
        if self._whole:
            yield from self._held
            return
        self._held, size, fits = [], 0, True
        for tensor in self._make():
            size += tensor.nbytes
            fits = size <= self._most_bytes
            if fits:
                self._held.append(tensor.cpu())
            else:
                self._held.clear()
            yield tensor
        self._whole = fits
