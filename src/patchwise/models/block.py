"""The blocks of the vision transformer. Letters: B images, T tokens, D channels."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.configs.backbone import ViTConfig
from patchwise.models.attention import Attention
from patchwise.models.rotary import Rotation


class MLP(nn.Module):
    """Two layers with an exact GELU between them, on every token by itself."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return what the residual adds."""
        changed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return changed


class SwiGLU(nn.Module):
    """Two layers, the hidden one gated: silu(gate) * value, whose weights lie one over the other.

    Source: Shazeer 2020, arXiv:2002.05202; names as in DINOv2's giant.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return what the residual adds."""
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        changed: Tensor = self.w3(F.silu(gate) * value)
        return changed


class LayerScale(nn.Module):
    """A learnt factor for every channel of a residual."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Scale the channels."""
        return tokens * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block.

        tokens = tokens + ls1(attn(norm1(tokens)))
        tokens = tokens + ls2(mlp(norm2(tokens)))

    A residual that is not kept for an image is left out of it, and made larger where it is kept,
    so that its mean stays.
    """

    def __init__(self, config: ViTConfig, drop_path: float) -> None:
        super().__init__()
        dim, initial = config.dim, config.layer_scale
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.attn = Attention(dim, config.heads, bias=config.qkv_bias)
        self.ls1 = LayerScale(dim, initial) if initial else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=config.norm_eps)
        kind = SwiGLU if config.mlp == "swiglu" else MLP
        self.mlp = kind(dim, config.hidden_dim)
        self.ls2 = LayerScale(dim, initial) if initial else nn.Identity()

    def forward(
        self,
        tokens: Float[Tensor, "B T D"],
        kept: Bool[Tensor, "B 2"] | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Return the tokens that enter the next block.

        Args:
            tokens: Of each image.
            kept: Whether the attention and the MLP are kept for each image; None: all are.
            rotation: Of the patches, where positions are rotary.
        """
        tokens = self._add(tokens, self.ls1(self.attn(self.norm1(tokens), rotation)), kept, 0)
        return self._add(tokens, self.ls2(self.mlp(self.norm2(tokens))), kept, 1)

    def cls_attention(
        self, tokens: Float[Tensor, "B T D"], rotation: Rotation | None = None
    ) -> Float[Tensor, "B heads T"]:
        """Return how the CLS token's attention in this block is spread over all tokens."""
        return self.attn.cls_attention(self.norm1(tokens), rotation)

    def _add(self, tokens: Tensor, residual: Tensor, kept: Tensor | None, which: int) -> Tensor:
        if kept is None or not self.drop_path:
            return tokens + residual
        scale = 1 / max(1 - self.drop_path, 1e-6)  # a rate of 1 keeps nothing
        return torch.addcmul(
            tokens, residual, (kept[:, which, None, None] * scale).to(tokens.dtype)
        )
