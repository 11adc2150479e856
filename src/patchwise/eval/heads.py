"""What is trained on frozen patch features: layers that give every place scores of classes.

Letters: B images, h w rows and columns of patches, D channels, K classes.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.randomness import random_seed

HeadT = TypeVar("HeadT", bound=nn.Module)
_INIT_STD = 0.01


def draw_head(make: Callable[[], HeadT], *key: int, device: torch.device) -> HeadT:
    """Return a new module whose weights follow from ``key``; no other draw is changed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_seed(*key))
        return make().to(device)


class LinearHead(nn.Module):
    """One linear layer, the same at every place: a 1 x 1 convolution."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, classes)

    def forward(self, features: Float[Tensor, "B h w D"]) -> Float[Tensor, "B K h w"]:
        """Return the scores of every class."""
        scores: Tensor = self.linear(features)
        return scores.movedim(-1, 1)


class NormalisedHead(nn.Module):
    """Batch normalisation, then one linear layer that starts from small weights.

    Source: the ``BNHead`` of DINOv2's published evaluation; initial weights of mmsegmentation 0.x.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.linear = nn.Conv2d(dim, classes, 1)
        nn.init.normal_(self.linear.weight, std=_INIT_STD)
        nn.init.zeros_(_bias(self.linear))

    def forward(self, features: Float[Tensor, "B h w D"]) -> Float[Tensor, "B K h w"]:
        """Return the scores of every class."""
        scores: Tensor = self.linear(self.norm(features.movedim(-1, 1)))
        return scores


class UpsampleBlock(nn.Module):
    """A bottleneck with a residual, a change of width, and twice the height and width.

    1. 1 x 1 to half the channels, normalisation, ReLU; 3 x 3 back to all, normalisation.
    2. The input is added; ReLU.
    3. 1 x 1 to the wanted channels; bilinear enlargement by two.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.dim, self.out_dim = dim, out_dim
        self.narrow = nn.Conv2d(dim, half, 1, bias=False)  # the normalisation would lose a bias
        self.norm = nn.BatchNorm2d(half)
        self.widen = nn.Conv2d(half, dim, 3, padding=1, bias=False)
        self.wide_norm = nn.BatchNorm2d(dim)
        self.out = nn.Conv2d(dim, out_dim, 1)

    def forward(self, maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "B E _ _"]:
        """Return maps of twice the size."""
        hidden = F.relu(self.norm(self.narrow(maps)))
        return enlarge(self.join(maps, self.wide_norm(self.widen(hidden))))

    def join(
        self, maps: Float[Tensor, "B D h w"], residual: Float[Tensor, "B D h w"]
    ) -> Float[Tensor, "B E h w"]:
        """Return what is to be enlarged, from the input and its residual."""
        changed: Tensor = self.out(F.relu(maps + residual))
        return changed


class UpsamplingHead(nn.Module):
    """An `UpsampleBlock` for each width, dropout of single values, and a 1 x 1 convolution.

    What is dropped is drawn from a generator of its own, one draw after the other.
    """

    def __init__(
        self, dim: int, classes: int, *, widths: Sequence[int], dropout: float, seed: int
    ) -> None:
        super().__init__()
        pairs = itertools.pairwise((dim, *widths))
        self.blocks = nn.Sequential(*[UpsampleBlock(before, after) for before, after in pairs])
        self.linear = nn.Conv2d(widths[-1], classes, 1)
        self.dropout, self.seed = dropout, seed
        self._generator: torch.Generator | None = None  # made where the weights are then

    def forward(self, features: Float[Tensor, "B h w D"]) -> Float[Tensor, "B K _ _"]:
        """Return the scores of every class, each block doubles the rows and columns."""
        return self.score(self.blocks(features.movedim(-1, 1)))

    def score(self, maps: Float[Tensor, "B E h w"]) -> Float[Tensor, "B K h w"]:
        """Return the scores of what the last block gave."""
        if self.training and self.dropout:
            maps = self._drop(maps)
        scores: Tensor = self.linear(maps)
        return scores

    def _drop(self, maps: Tensor) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(maps.device).manual_seed(self.seed)
        drawn = torch.rand(maps.shape, generator=self._generator, device=maps.device)
        return maps * (drawn >= self.dropout) / (1 - self.dropout)


def enlarge(maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D _ _"]:
    """Return maps of twice the height and width."""
    return F.interpolate(maps, scale_factor=2, mode="bilinear")


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None, "the layer was made with a bias"
    return layer.bias
