"""Checks of arguments, each raising one clear error.

Every message reads ``{caller}: {argument} must {rule}, got {value}[; {what to do}]``.
"""

import difflib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from patchwise.errors import ChoiceError, RangeError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def check_positive(caller: str, **values: float) -> None:
    """Raise `RangeError` unless every value is a finite number above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise RangeError(f"{caller}: {name} must be positive, got {value}")


def check_within(caller: str, low: float, high: float, **values: float) -> None:
    """Raise `RangeError` unless every value lies in [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise RangeError(f"{caller}: {name} must lie in [{low}, {high}], got {value}")


def check_finite(caller: str, **values: "Tensor | float") -> None:
    """Raise `RangeError` unless no number, and no entry of a tensor, is infinite or NaN."""
    for name, value in values.items():
        wrong: list[float] = []
        if isinstance(value, int | float):
            wrong = [] if math.isfinite(value) else [value]
        elif not value.isfinite().all():
            wrong = value[~value.isfinite()].tolist()
        if wrong:
            raise RangeError(f"{caller}: {name} must be finite, got {wrong[0]}")


def check_zeros_and_ones(caller: str, **tensors: "Tensor") -> None:
    """Raise `RangeError` unless every entry is False, True, 0 or 1."""
    for name, tensor in tensors.items():
        wrong = (tensor != 0) & (tensor != 1)
        if wrong.any():
            raise RangeError(f"{caller}: {name} must hold only 0 and 1, got {tensor[wrong][0]}")


def check_same_shape(caller: str, **tensors: "Tensor") -> None:
    """Raise `ShapeError` unless all tensors have one shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        names = " and ".join(shapes)
        raise ShapeError(f"{caller}: {names} must have the same shape, got {shapes}")


def check_shape(caller: str, shape: tuple[int | None, ...], **tensors: "Tensor") -> None:
    """Raise `ShapeError` unless every tensor has ``shape``; None stands for any length."""
    for name, tensor in tensors.items():
        got = tuple(tensor.shape)
        fits = len(got) == len(shape) and all(
            want is None or want == have for want, have in zip(shape, got, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise ShapeError(f"{caller}: {name} must have shape {wanted}, got {got}")


def check_choice(caller: str, choices: Iterable[str], **values: str) -> None:
    """Raise `ChoiceError` unless every value is one of ``choices``; name the nearest."""
    known = sorted(choices)
    for name, value in values.items():
        if value not in known:
            raise ChoiceError(
                f"{caller}: {name} must be one of {', '.join(known)}, "
                f"got {value!r}{did_you_mean(str(value), known)}"
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
