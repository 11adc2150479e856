"""Reading a weights file without running any code it may hold."""

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from patchwise.errors import WeightsError

_NAMES_SHOWN = 10
_TORCH = (".pth", ".pth.tar", ".pt", ".ckpt", ".bin")


class _Unread:
    """Stands for a thing beside the weights that nobody reads: takes anything, keeps nothing."""

    __slots__ = ()

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# What training checkpoints name besides what torch allows by itself. Nothing of it is imported:
# settings (DINO, iBOT, MAE), numbers and arrays of numpy in an optimizer's settings (DINO sets its
# rates from an array), and classes of Lightning, by which old versions name states of callbacks.
_STAND_INS: dict[str, Callable[..., object]] = {
    "argparse.Namespace": _Unread,
    "numpy.dtype": _Unread,
    "numpy.ndarray": _Unread,
    **{
        f"numpy.{core}.multiarray.{name}": _Unread
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    },
    **{
        f"{home}.callbacks.{name}": _Unread
        for home in ("pytorch_lightning", "lightning.pytorch")
        for name in ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")
    },
    "pytorch_lightning.utilities.parsing.AttributeDict": dict,
    "lightning.pytorch.utilities.parsing.AttributeDict": dict,
    "lightning.fabric.utilities.data.AttributeDict": dict,
}


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds, before anything is known of its format."""

    path: Path
    contents: Mapping[Any, object]
    metadata: Mapping[str, str] = field(default_factory=dict)  # of safetensors; else empty
    config: Mapping[str, Any] = field(default_factory=dict)  # of config.json beside it; else empty
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # of preprocessor_config.json

    def tensors(self, source: str) -> dict[str, Tensor]:
        """Return the contents if they are named dense tensors and nothing else.

        Args:
            source: Name of the format that was tried, for the message.

        Raises:
            WeightsError: there is something else among the contents.
        """
        named = {k: v for k, v in self.contents.items() if isinstance(k, str)}
        tensors = {k: v for k, v in named.items() if isinstance(v, Tensor) and _is_dense(v)}
        other = [str(key) for key in self.contents if key not in tensors]
        if other:
            raise WeightsError(
                f"load_backbone: '{self.path}' must hold named dense tensors only (read as "
                f"{source}), got other things under {first_names(other)}; save the backbone's own "
                f"state dict"
            )
        return tensors


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether a tensor has its numbers in memory, one for each place."""
    return tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_meta)


def read_weights_file(path: Path) -> WeightsFile:
    """Open a .safetensors file or one of torch.save (.pth, .pth.tar, .pt, .ckpt, .bin).

    Its tensors lie on the CPU, and are windows on the file where its format allows it: what nobody
    asks for is never read. So they are good as long as the file is.

    Raises:
        WeightsError: there is no such file, or it is broken, or would run code.
    """
    if path.is_dir():
        raise WeightsError(
            f"load_backbone: path must be a weights file, got the folder '{path}'; "
            f"name the file in it"
        )
    if not path.exists():
        raise WeightsError(
            f"load_backbone: path must be a weights file, got '{path}', which does not exist"
            + (f"; a model of the hub is named hub:{path}" if _may_be_of_hub(path) else "")
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.name.endswith(_TORCH):
        return _read_torch(path)
    raise WeightsError(
        f"load_backbone: path must end in .safetensors or {', '.join(_TORCH)}, got '{path}'"
    )


def _may_be_of_hub(path: Path) -> bool:
    """Tell whether a path could be the owner and the name of a model."""
    named = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(path)) is not None
    return named and not path.name.endswith((".safetensors", *_TORCH))


def first_names(names: list[str]) -> str:
    """List the first ten names, and how many there are beyond them."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            contents: dict[object, object] = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
            }
            return WeightsFile(path, contents, file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"load_backbone: '{path}' must be a complete safetensors file, got {error}; "
            f"copy or download it again"
        ) from error


def _read_torch(path: Path) -> WeightsFile:
    try:
        with torch.serialization.safe_globals([(kept, name) for name, kept in _STAND_INS.items()]):
            contents = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:  # a broken pickle can raise anything
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise WeightsError(
                f"load_backbone: '{path}' must hold tensors only, got a pickle that would run code "
                f"({refused[1]}); save the state dict alone, where you trust the file"
            ) from error
        first_sentence = re.split(r"[.:]?\s*\n|\.\s", str(error))[0]
        reason = f"{type(error).__name__} {first_sentence}".strip()
        raise WeightsError(
            f"load_backbone: '{path}' must be a complete file of torch.save, got {reason}; "
            f"copy or download it again"
        ) from error
    if not isinstance(contents, Mapping):
        raise WeightsError(
            f"load_backbone: '{path}' must hold a dict of tensors, got {type(contents).__name__}"
        )
    return WeightsFile(path, contents)
