"""Any function of images as a backbone: what it returns is checked, the rest is found out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchwise.errors import DataError, ShapeError
from patchwise.models.backbone import Backbone, BackboneOutput
from patchwise.normalisation import normalise
from patchwise.randomness import random_uniform

PROBE_PX = 224  # side of the images by which a function shows what it does
_KEY = 224_000  # of the draw of those images: no other draw has it
_RETURNS = (
    "return patch tokens (B, N, D) row by row, or (CLS (B, D), patches (B, N, D)), "
    "or a BackboneOutput"
)
_SAME_FRAC = 0.05  # of the largest feature: by so much bfloat16 may differ with the batch


@dataclass(frozen=True)
class Adapted:
    """A function of normalised images as a `Backbone`.

    Features become float32. Without CLS the mean of an image's patches stands for it.
    """

    function: Callable[[Tensor], Any]
    patch_px: int
    dim: int
    device: torch.device
    has_cls: bool

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], *, attention: bool = False
    ) -> BackboneOutput:
        """Return the features of ``images``; there is no attention.

        Raises:
            ShapeError: The function returns no feature for each patch, or of other width.
            DataError: The function raises an error itself.
        """
        rows, columns = (side // self.patch_px for side in images.shape[-2:])
        cls, patches = _ask(self.function, images)
        wanted = (len(images), rows * columns, self.dim)
        if patches.shape != wanted:
            raise ShapeError(
                f"evaluate: patch tokens of images {tuple(images.shape)} must have shape {wanted}, "
                f"got {tuple(patches.shape)}; with patches of {self.patch_px} px there are "
                f"{rows} x {columns}: {_RETURNS}"
            )
        return BackboneOutput(patches.mean(dim=1) if cls is None else cls, patches, (rows, columns))


def adapt(function: Callable[[Tensor], Any], *, device: torch.device | None = None) -> Adapted:
    """Return a function of images as a backbone, after asking it for two images.

    Args:
        function: Maps normalised images (B, 3, H, W) to patch tokens (B, N, D), or to
            (CLS (B, D), patches (B, N, D)), or to a `BackboneOutput`. A module must be in eval
            mode. The side of its patches is its attribute ``patch_px`` or ``patch_size``, or else
            follows from the number of tokens of an image of 224 px.
        device: Where images are given; None: where a module's parameters are, or the function's
            attribute ``device`` says, or else the CPU.

    Raises:
        ShapeError: It returns something else; the message says what to return.
        DataError: It raises an error, or an image's features depend on the others of its batch.
    """
    where = device or _device_of(function)
    patch_px = _patch_of(function)
    side_px = PROBE_PX if patch_px is None else max(1, PROBE_PX // patch_px) * patch_px
    images = fixed_images(2, side_px).to(where)
    with asking(where):
        cls, patches = _ask(function, images)
        alone = _ask(function, images[:1])[1]
    if alone.shape[1:] != patches.shape[1:]:
        raise ShapeError(
            f"evaluate: patch tokens of one image must have the shape that they have in a batch, "
            f"got {tuple(alone.shape[1:])} and {tuple(patches.shape[1:])}"
        )
    if patch_px is None:
        patch_px = _side_of_patches(patches)
    adapted = Adapted(function, patch_px, patches.shape[-1], where, has_cls=cls is not None)
    tokens = (side_px // patch_px) ** 2
    if patches.shape[1] != tokens:
        raise ShapeError(
            f"evaluate: patch tokens of an image of {side_px} px must be {tokens} with patches of "
            f"{patch_px} px, got {patches.shape[1]}; {_RETURNS}"
        )
    change = float((patches[:1] - alone).abs().max() / patches.abs().max().clamp_min(1e-12))
    if change > _SAME_FRAC:
        raise DataError(
            f"evaluate: features of an image must be the same alone and in a batch, got a change "
            f"of {change:.0%} of the largest; put the modules that the function uses into eval mode"
        )
    return adapted


def gives_output(model: object) -> bool:
    """Tell whether a model is a `Backbone` that keeps its word, after asking it for an image."""
    if not isinstance(model, Backbone):
        return False
    side_px = max(1, PROBE_PX // model.patch_px) * model.patch_px
    try:
        with asking(model.device):
            return isinstance(model(fixed_images(1, side_px).to(model.device)), BackboneOutput)
    except Exception:  # it is not ours, and may raise anything: `adapt` says what
        return False


@contextmanager
def asking(device: torch.device) -> Iterator[None]:
    """Compute without gradient, and leave torch's random numbers as they were."""
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def fixed_images(count: int, side_px: int) -> Float[Tensor, "B 3 S S"]:
    """Return normalised pseudo-random images, the same everywhere, each darker than the last."""
    pixels = random_uniform(count * 3 * side_px**2, _KEY).reshape(count, 3, side_px, side_px)
    brightness = 1 / torch.arange(1.0, count + 1)  # so that an image changes the batch's mean
    return normalise(torch.from_numpy(pixels).float() * brightness[:, None, None, None])


def _ask(function: Callable[[Tensor], Any], images: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return CLS, if there is one, and patches, in float32."""
    try:
        answer = function(images)
    except Exception as error:  # it is not ours, and may raise anything
        first_line = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"evaluate: model must map images of shape {tuple(images.shape)} on {images.device} to "
            f"features, got {type(error).__name__}: {first_line}"
        ) from error
    if isinstance(answer, BackboneOutput):
        answer = (answer.cls, answer.patches)
    parts = answer if isinstance(answer, (tuple, list)) and len(answer) == 2 else (None, answer)
    cls, patches = parts
    count = len(images)
    if not _is_of(patches, (count, None, None)) or not (
        cls is None or _is_of(cls, (count, patches.shape[-1]))
    ):
        raise ShapeError(
            f"evaluate: model must {_RETURNS}, got {_describe(answer)} for {count} images"
        )
    return None if cls is None else cls.float(), patches.float()


def _is_of(value: object, shape: tuple[int | None, ...]) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim == len(shape)
        and all(want in (None, have) for want, have in zip(shape, value.shape, strict=True))
    )


def _side_of_patches(patches: Float[Tensor, "B N D"]) -> int:
    """Find the side of patches from their number in an image of 224 px.

    Raises:
        ShapeError: They are no grid.
    """
    count = patches.shape[1]
    sides = [side for side in range(1, PROBE_PX + 1) if PROBE_PX % side == 0 and side**2 <= count]
    grid = sides[-1] if sides else 0
    if grid == 0 or grid**2 != count:
        extra = count - grid**2
        likely = f", which is {grid} x {grid} patches and {extra} more" if extra < 20 else ""
        raise ShapeError(
            f"evaluate: patch tokens of an image of {PROBE_PX} px must be a square grid, "
            f"got {count}{likely}; leave CLS and registers out of the patch tokens ({_RETURNS}), "
            f"or give the model an attribute patch_px"
        )
    return PROBE_PX // grid


def _patch_of(function: object) -> int | None:
    """Return the side of patches that a model names, if it names one."""
    for name in ("patch_px", "patch_size"):
        value = getattr(function, name, None)
        sides = set(value) if isinstance(value, (tuple, list)) else {value}
        if len(sides) == 1 and isinstance(side := sides.pop(), int) and side > 0:
            return side
    return None


def _device_of(function: object) -> torch.device:
    if isinstance(function, nn.Module):
        first = next(iter(function.parameters()), None)
        if first is not None:
            return first.device
    return torch.device(getattr(function, "device", None) or "cpu")


def _describe(answer: object) -> str:
    if isinstance(answer, Tensor):
        return f"{answer.dtype} of shape {tuple(answer.shape)}"
    if isinstance(answer, (tuple, list)):
        return f"({', '.join(_describe(part) for part in answer)})"
    return type(answer).__name__
