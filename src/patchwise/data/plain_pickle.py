"""Published data that come as pickles, read without running what they name."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchwise.errors import DataError


def read_plain_pickle(path: Path, *, caller: str) -> object:
    """Read a pickle of Python 2 that holds only numbers, text, containers and numpy arrays.

    A pickle names functions, which unpickling calls; a foreign one can do anything. Here it may
    name three, those that make an array, and gets stand-ins that make arrays of numbers and nothing
    else. Text comes as bytes.

    Args:
        path: The file.
        caller: Whom messages name.

    Raises:
        DataError: It cannot be read, is damaged, or names anything else.
    """
    try:
        content: object = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise almost anything
        raise DataError(
            f"{caller}: '{path}' must be a pickle of numbers, text and arrays alone, "
            f"got {type(error).__name__}: {error}"
        ) from error
    return content


class _PlainUnpickler(pickle.Unpickler):
    """Knows three names."""

    def find_class(self, module: str, name: str) -> object:
        """Return the stand-in for a name, or refuse it."""
        known: dict[tuple[str, str], object] = {
            ("numpy.core.multiarray", "_reconstruct"): _EmptyArray(),
            ("numpy", "ndarray"): _ARRAY,
            ("numpy", "dtype"): _NumberType(),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"the name {module}.{name}")
        return known[module, name]


_ARRAY = object()  # cannot be called


class _EmptyArray:
    """Makes the array that its state is then put into."""

    __slots__ = ()  # a pickle may set attributes of what it names

    def __call__(self, kind: object, shape: object, _code: object) -> NDArray[np.int8]:
        if kind is not _ARRAY or shape != (0,):
            raise pickle.UnpicklingError("an array that does not begin empty")
        return np.ndarray((0,), np.int8)


class _NumberType:
    """Makes a type of numbers, its own copy, whose state is then set."""

    __slots__ = ()

    def __call__(self, code: object, *_: object) -> np.dtype[Any]:
        kind = np.dtype(code.decode() if isinstance(code, bytes) else str(code), copy=True)
        if kind.kind not in "biuf":
            raise pickle.UnpicklingError(f"arrays of {kind}")
        return kind
