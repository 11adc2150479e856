"""What every backbone takes and returns."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.normalisation import normalise


@dataclass(frozen=True)
class BackboneOutput:
    """Features of a batch of images.

    Letters: B images, N patches row by row, D channels.
    """

    cls: Float[Tensor, "B D"]
    patches: Float[Tensor, "B N D"]
    grid: tuple[int, int]  # rows and columns of patches, N = rows * columns
    # CLS attention of the last block to the patches: softmax over all tokens, so that the rows
    # sum to at most 1. None unless asked for.
    attention: Float[Tensor, "B heads N"] | None = None


@runtime_checkable
class Backbone(Protocol):
    """Turns images into one CLS feature and a grid of patch features."""

    @property
    def dim(self) -> int:
        """Channels of the features, D."""

    @property
    def patch_px(self) -> int:
        """Side of a patch in pixels; height and width of images must be multiples of it."""

    @property
    def device(self) -> torch.device:
        """Where images must be."""

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], *, attention: bool = False
    ) -> BackboneOutput:
        """Return the features of ``images``, which are normalised as in training."""


@runtime_checkable
class HasBlocks(Protocol):
    """A backbone that also tells what its blocks before the last one see."""

    def last_blocks(
        self, images: Float[Tensor, "B 3 H W"], *, count: int
    ) -> tuple[BackboneOutput, ...]:
        """Return what each of the last ``count`` blocks gives, the last one last.

        All go through the backbone's final normalisation.
        """


def normalisation_of(backbone: Backbone) -> Normalisation:
    """Return how the images of a backbone are normalised.

    By its attribute ``normalisation``, if that is a `Normalisation`, as ours have it; or else as
    ImageNet's.
    """
    found = getattr(backbone, "normalisation", None)
    return found if isinstance(found, Normalisation) else IMAGENET


def prepare(backbone: Backbone, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Return images in [0, 255] as a backbone takes them: on its device, normalised as its own."""
    return normalise(pixels.to(backbone.device).float() / 255, normalisation_of(backbone))
