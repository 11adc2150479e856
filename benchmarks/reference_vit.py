"""A plain vision transformer: attention written out, one block after the other.

Its state-dict keys are those of `patchwise.models.vit.ViT`, so that weights can be copied.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.configs.backbone import ViTConfig


class PlainAttention(nn.Module):
    """Multi-head self-attention whose matrices of weights are made and kept for the backward."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * self.scale).softmax(dim=-1)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(batch, count, dim))
        return mixed


class PlainMLP(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        changed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return changed


class PlainBlock(nn.Module):
    """Pre-norm block; in training each residual is left out for some images."""

    def __init__(self, config: ViTConfig, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = PlainAttention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = PlainMLP(config.dim, config.hidden_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self._drop(self.attn(self.norm1(tokens)))
        return tokens + self._drop(self.mlp(self.norm2(tokens)))

    def _drop(self, residual: Tensor) -> Tensor:
        if self.drop_path == 0 or not self.training:
            return residual
        kept = 1 - self.drop_path
        mask = torch.rand(len(residual), 1, 1, device=residual.device).add(kept).floor()
        return residual / kept * mask.to(residual.dtype)


class PlainPatchEmbed(nn.Module):
    """One linear map of the pixels of every patch."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_px, stride=patch_px)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class PlainViT(nn.Module):
    """All normalised tokens of a batch of square images, CLS first.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, as DINO trains it, arXiv:2104.14294.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.patch_embed = PlainPatchEmbed(config.dim, config.patch_px)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.dim))
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(PlainBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        front = self.cls_token.expand(len(images), -1, -1)
        tokens = torch.cat([front, patches], dim=1) + self._positions(patches.shape[1])
        for block in self.blocks:
            tokens = block(tokens)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def _positions(self, patches: int) -> Tensor:
        stored = self.pos_embed.shape[1] - 1
        if patches == stored:
            return self.pos_embed
        side, needed = round(stored**0.5), round(patches**0.5)
        grid = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(grid, scale_factor=(needed + 0.1) / side, mode="bicubic")
        flat = resized.permute(0, 2, 3, 1).flatten(1, 2)
        return torch.cat([self.pos_embed[:, :1], flat], dim=1)
