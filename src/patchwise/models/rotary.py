"""Rotary positions: queries and keys are turned by where their patches lie."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_BASE = 100.0  # of the periods of a ViT that begins at random weights


@dataclass(frozen=True)
class Rotation:
    """Cosine and sine of the angles by which the channels of every patch's heads are turned.

    Letters: N patches row by row, d channels of one head.
    """

    cos: Float[Tensor, "N d"]
    sin: Float[Tensor, "N d"]

    def turn(self, heads: Float[Tensor, "B heads T d"]) -> Float[Tensor, "B heads T d"]:
        """Turn the last N of T tokens; those before them, CLS and registers, lie nowhere.

        Channel i is turned with channel i + d/2.
        """
        first_patch = heads.shape[-2] - len(self.cos)
        front, patches = heads[..., :first_patch, :], heads[..., first_patch:, :]
        first, second = patches.chunk(2, dim=-1)
        cos, sin = self.cos.to(heads.dtype), self.sin.to(heads.dtype)
        turned = patches * cos + torch.cat([-second, first], dim=-1) * sin
        return torch.cat([front, turned], dim=-2)


class RotaryPositions(nn.Module):
    """Angles of the patches of a grid, by the place of their centres.

        angle = 2 pi * place / period,  place in [-1, 1] along each axis

    A quarter of a head's channels turn by the row, a quarter by the column, and the two others
    with them. The periods are stored with the weights: 100^(i / count) for i from 0, unless a
    file holds others.

    Source: DINOv3, Simeoni et al. 2025, arXiv:2508.10104; Su et al. 2021, arXiv:2104.09864.
    Differs: places are not scaled at random in training.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        count = head_dim // 4
        self.periods = nn.Buffer(_BASE ** (torch.arange(count) / count))

    def forward(self, grid: tuple[int, int]) -> Rotation:
        """Return the rotation of each patch of ``grid``, rows and columns; at least float32."""
        exact = self.periods.to(torch.promote_types(self.periods.dtype, torch.float32))
        axes = [
            2 * (torch.arange(count, device=exact.device, dtype=exact.dtype) + 0.5) / count - 1
            for count in grid
        ]
        places = torch.cartesian_prod(*axes)  # [N, 2]
        angles = (2 * torch.pi * places[:, :, None] / exact).flatten(1).tile(2)  # [N, d]
        return Rotation(angles.cos(), angles.sin())
