"""Checkpoints: one safetensors file each, which carries its own checksum."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from patchwise.errors import CheckpointError
from patchwise.files import atomic_path

FORMAT = "1"
_PREFIX, _SUFFIX = "step-", ".safetensors"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on."""

    step: int  # optimiser steps that are done
    tensors: Tensors
    facts: dict[str, Any]  # plain values: counts, fingerprints


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint atomically; then remove all but the ``keep`` newest up to it.

    Those of later steps go too: they are damaged, or the run would have gone on from them.

    Raises:
        CheckpointError: The file cannot be written; older checkpoints are left as they are.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _items(checkpoint)}
    metadata = {
        "format": FORMAT,
        "step": str(checkpoint.step),
        "facts": json.dumps(checkpoint.facts),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    path = folder / f"{_PREFIX}{checkpoint.step:09d}{_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
        paths = list_checkpoints(folder)
        own = paths.index(path)
        for other in paths[:own] + paths[own + keep :]:
            other.unlink()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"save_checkpoint: {path} must be writable, got {error}; free some space, then go on "
            f"from the last checkpoint with --resume"
        ) from error
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and compare its checksum.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"load_checkpoint: {path} must be a whole checkpoint, got {error}"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"load_checkpoint: {path} must be of format {FORMAT}, got {metadata.get('format')!r}"
        )
    expected = metadata.pop("sha256", None)
    digest = _digest(tensors, metadata)
    if digest != expected:
        raise CheckpointError(
            f"load_checkpoint: {path} must have checksum {expected}, got {digest}; "
            f"the file is damaged, delete it to go on from the one before"
        )
    return Checkpoint(int(metadata["step"]), tensors, json.loads(metadata["facts"]))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first."""
    return sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"), reverse=True)


def pack_state(method: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the tensors of a method and its optimiser by name."""
    tensors = {f"method/{name}": tensor for name, tensor in method.state_dict().items()}
    for name, parameter in _named_parameters(optimizer).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{key}"] = value
    return tensors


def unpack_state(
    tensors: Mapping[str, Tensor], method: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Put tensors from `pack_state` back.

    Raises:
        CheckpointError: They are another method's or another architecture's.
    """
    own = {n.removeprefix("method/"): t for n, t in tensors.items() if n.startswith("method/")}
    try:
        method.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(
            f"unpack_state: the checkpoint must fit the method, got {error}"
        ) from error
    for name, parameter in _named_parameters(optimizer).items():
        prefix = f"optimizer/{name}/"
        state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if state:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) for key, value in state.items()
            }


def _named_parameters(optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }


def _items(checkpoint: Checkpoint) -> list[tuple[str, Tensor]]:
    return sorted(checkpoint.tensors.items())


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of metadata, and of names, types, shapes and bytes in order of names."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
