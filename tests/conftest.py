"""What all tests share."""

import contextlib
import importlib.util
from pathlib import Path

import torch


def _complete_torchvision() -> torch.library.Library | None:
    """Let a torchvision built for CUDA be imported beside a torch without CUDA.

    Its compiled part cannot be loaded then, and its Python part fails on operators that are not
    there. timm and transformers import it; the operators themselves are never called. A torchvision
    that works is left alone.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for compiled in Path(spec.origin).parent.glob("_C*.so"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
    if hasattr(torch.ops.torchvision, "nms"):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


_TORCHVISION = _complete_torchvision()  # the operators live as long as this does
