"""Heads on top of a backbone's tokens. They are trained with it and thrown away after."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive


class ProjectionHead(nn.Module):
    """Three-layer MLP to a unit vector, then its cosine with K prototypes.

    ``bottleneck`` and ``directions`` are all that a loss over many prototypes needs; ``scores``,
    K numbers a token, are for looking at some tokens.

    Source: Caron et al. 2021, arXiv:2104.14294, appendix C; no batch-norm, last layer
        weight-normalised with the norm fixed to 1. CoTAP's, arXiv:2509.09429, has no bias in the
        third layer (``last_bias``).
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden_dim: int,
        bottleneck_dim: int,
        prototypes: int,
        last_bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive(
            "ProjectionHead",
            dim=dim,
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
            prototypes=prototypes,
        )
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim, bias=last_bias),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        # Only directions count, yet the length sets how fast they turn: it is the authors'.
        bound = bottleneck_dim**-0.5
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck_dim))
        nn.init.uniform_(self.prototypes, -bound, bound)

    def bottleneck(self, tokens: Float[Tensor, "... D"]) -> Float[Tensor, "... C"]:
        """Return one unit vector a token, in float32 at least."""
        vectors: Tensor = self.mlp(tokens)
        full = torch.promote_types(vectors.dtype, torch.float32)
        return F.normalize(vectors.to(full), dim=-1, eps=1e-6)

    def directions(self) -> Float[Tensor, "K C"]:
        """Return the prototypes as unit vectors."""
        return F.normalize(self.prototypes, dim=-1)

    def scores(self, bottleneck: Float[Tensor, "... C"]) -> Float[Tensor, "... K"]:
        """Return the cosine with each prototype; linear in ``bottleneck``."""
        return F.linear(bottleneck, self.directions())

    def forward(self, tokens: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        """Return each token's cosine with each prototype."""
        return self.scores(self.bottleneck(tokens))
