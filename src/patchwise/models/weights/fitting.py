"""Putting tensors of a file into a ViT, with nothing missing, left over or broken."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.files import first_names


def build_vit(config: ViTConfig, tensors: Mapping[str, Tensor], *, path: Path, source: str) -> ViT:
    """Return a ViT in evaluation mode with these weights, in float32.

    Draws no random numbers.

    Args:
        config: Architecture, as the file says or as its shapes tell.
        tensors: Weights by the ViT's own names.
        path: Of the file, for messages.
        source: Name of the format that was tried, for messages.

    Raises:
        WeightsError: a name is missing or left over, or a tensor has another shape, is not of
            floating-point numbers, or holds NaN or infinity.
    """
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        vit = ViT(config)
    expected = vit.state_dict()
    _check_names(expected, tensors, path=path, source=source)
    _check_shapes(expected, tensors, path=path, source=source)
    weights = {name: tensors[name].to(torch.float32).contiguous() for name in expected}
    check_finite("load_backbone", weights, path=path)
    vit.load_state_dict(weights, assign=True)
    return vit.eval()


def check_finite(caller: str, tensors: Mapping[str, Tensor], *, path: Path) -> None:
    """Raise `WeightsError` if any of the weights is NaN or infinite."""
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{caller}: weights of '{path}' must be finite, got NaN or infinity in "
            f"{first_names(broken)}"
        )


def _check_names(
    expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, path: Path, source: str
) -> None:
    missing = [name for name in expected if name not in tensors]
    left_over = [name for name in tensors if name not in expected]
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


def _check_shapes(
    expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, path: Path, source: str
) -> None:
    wrong = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(weight.shape)}"
        for name, weight in expected.items()
        if tensors[name].shape != weight.shape
    ]
    if wrong:
        raise WeightsError(
            f"load_backbone: '{path}' must hold weights of the shapes of its ViT "
            f"(read as {source}), got {first_names(wrong)}"
        )
    whole = [name for name in expected if not tensors[name].is_floating_point()]
    if whole:
        raise WeightsError(
            f"load_backbone: '{path}' must hold floating-point numbers (read as {source}), "
            f"got {tensors[whole[0]].dtype} in {first_names(whole)}"
        )
