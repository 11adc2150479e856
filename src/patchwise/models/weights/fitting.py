"""Putting tensors of a file into a ViT, with nothing missing, left over or broken."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from patchwise.errors import WeightsError
from patchwise.models.weights.files import first_names

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def one_over_the_other(*parts: Tensor) -> Tensor:
    """Return the tensors joined along their first axis."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class Origin:
    """Which tensors of a file make up one weight of ours."""

    names: tuple[str, ...]
    join: Callable[..., Tensor] = one_over_the_other  # of the tensors, in that order


Built = TypeVar("Built", bound=nn.Module)
Translate = Callable[[str], Origin]
"""From the name of a weight of ours to where it comes from."""


def same_name(name: str) -> Origin:
    """Return the tensor of the name that the weight has here."""
    return Origin((name,))


def build(
    make: Callable[[], Built],
    tensors: Mapping[str, Tensor],
    *,
    path: Path,
    source: str,
    origin: Translate = same_name,
    unused: Sequence[str] = (),
) -> tuple[Built, tuple[str, ...]]:
    """Return a backbone in evaluation mode with copies of these weights, in float32.

    And the names of the file's tensors that were left out. Draws no random numbers.

    Args:
        make: Makes the backbone, with any weights.
        tensors: Weights by the file's names.
        path: Of the file, for messages.
        source: Name of the format that was tried, for messages.
        origin: Where each weight of the backbone comes from.
        unused: Regular expressions; tensors whose whole name fits one are left out.

    Raises:
        WeightsError: a name is missing or left over, or a tensor has another shape, is not of
            floating-point numbers of 16 to 64 bits, or holds NaN or infinity. Names are those of
            the file.
    """
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
            built = make()
    except (RuntimeError, TypeError) as error:  # torch's, of more numbers than it can count
        raise WeightsError(
            f"load_backbone: '{path}' must hold a possible ViT (read as {source}), got sizes that "
            f"are too large: {str(error).splitlines()[0]}"
        ) from error
    expected = built.state_dict()
    origins = {name: origin(name) for name in expected}
    wanted = [theirs for each in origins.values() for theirs in each.names]
    left_out = [n for n in tensors if n not in wanted and _fits_any(n, unused)]
    used = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    _check_names(wanted, used, path=path, source=source)
    _check_floats(used, path=path, source=source)
    joined = {name: _join(origins[name], used) for name in expected}
    wrong = [
        f"{_shapes(origins[name], used)} for {tuple(weight.shape)}"
        for name, weight in expected.items()
        if (found := joined[name]) is None or found.shape != weight.shape
    ]
    if wrong:
        raise WeightsError(
            f"load_backbone: '{path}' must hold weights of the shapes of its ViT "
            f"(read as {source}), got {first_names(wrong)}"
        )
    weights = {n: _copy(tensor) for n, tensor in joined.items() if tensor is not None}
    check_finite("load_backbone", used, path=path)
    check_finite("load_backbone", weights, path=path)  # float32 has fewer numbers than float64
    built.load_state_dict(weights, assign=True)
    return built.eval(), tuple(left_out)


def check_finite(caller: str, tensors: Mapping[str, Tensor], *, path: Path) -> None:
    """Raise `WeightsError` if any of the weights is NaN or infinite."""
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{caller}: weights of '{path}' must be finite, got NaN or infinity in "
            f"{first_names(broken)}"
        )


def _fits_any(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _check_names(
    wanted: Sequence[str], tensors: Mapping[str, Tensor], *, path: Path, source: str
) -> None:
    missing = [name for name in wanted if name not in tensors]
    left_over = [name for name in tensors if name not in wanted]
    parts = [
        f"{what} {first_names(names)}"
        for what, names in (("missing", missing), ("left over", left_over))
        if names
    ]
    if parts:
        raise WeightsError(
            f"load_backbone: '{path}' must hold every weight of its ViT and no other "
            f"(read as {source}), got {'; '.join(parts)}"
        )


def _join(origin: Origin, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the weight, or None where its parts do not go together."""
    try:
        return origin.join(*(tensors[name] for name in origin.names))
    except (RuntimeError, IndexError):
        return None


def _copy(tensor: Tensor) -> Tensor:
    """Return the tensor in memory of its own: it may be a window on its file."""
    return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _shapes(origin: Origin, tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in origin.names)


def _check_floats(tensors: Mapping[str, Tensor], *, path: Path, source: str) -> None:
    other = [name for name, tensor in tensors.items() if tensor.dtype not in _DTYPES]
    if other:
        raise WeightsError(
            f"load_backbone: '{path}' must hold floating-point numbers of 16 to 64 bits (read as "
            f"{source}), got {tensors[other[0]].dtype} in {first_names(other)}"
        )
