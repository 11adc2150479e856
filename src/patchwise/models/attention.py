"""Multi-head self-attention of the vision transformer."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.configs.backbone import QKVBias
from patchwise.models.rotary import Rotation

_MOST_TOKENS_BY_STEPS = 640


class QKV(nn.Linear):
    """The linear map to queries, keys and values, of which keys have no bias.

    The bias of the keys is there, as in DINOv3's files, but is neither used nor trained.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3 * dim)

    def used_bias(self) -> Float[Tensor, " three_D"]:
        """Return the bias that is added: 0 for keys."""
        query, key, value = self.bias.chunk(3)
        return torch.cat([query, torch.zeros_like(key), value])

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T three_D"]:
        """Return queries, keys and values side by side."""
        return F.linear(tokens, self.weight, self.used_bias())


class Attention(nn.Module):
    """Multi-head self-attention; the heads lie side by side in the channels.

        out = proj( softmax(query key^T / sqrt(d)) value ),  d = D / heads

    Where positions are rotary, queries and keys of the patches are turned before they meet.

    Letters: B images, T tokens, D channels, d channels of one head.
    """

    def __init__(self, dim: int, heads: int, bias: QKVBias = "full") -> None:
        super().__init__()
        self.heads = heads
        self.qkv = QKV(dim) if bias == "no_key" else nn.Linear(dim, 3 * dim, bias=bias == "full")
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, tokens: Float[Tensor, "B T D"], rotation: Rotation | None = None
    ) -> Float[Tensor, "B T D"]:
        """Return what the residual adds."""
        query, key, value = self.project(tokens)
        if rotation is not None:
            query, key = rotation.turn(query), rotation.turn(key)
        attend = _attend_by_steps if _steps_are_faster(query) else F.scaled_dot_product_attention
        out: Tensor = self.proj(attend(query, key, value).transpose(1, 2).flatten(2))
        return out

    def cls_attention(
        self, tokens: Float[Tensor, "B T D"], rotation: Rotation | None = None
    ) -> Float[Tensor, "B heads T"]:
        """Return the softmax weights with which the first token reads all tokens, in float32."""
        dim = tokens.shape[-1]
        query, key = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in (
                self.queries(tokens[:, :1]),
                self._project_by(tokens, slice(dim, 2 * dim)),
            )
        )
        if rotation is not None:  # CLS itself lies nowhere
            key = rotation.turn(key)
        scores = (query * key).sum(dim=-1, dtype=torch.float32)
        weights: Tensor = (scores / query.shape[-1] ** 0.5).softmax(dim=-1)
        return weights

    def project(
        self, tokens: Float[Tensor, "B T D"]
    ) -> tuple[
        Float[Tensor, "B heads T d"], Float[Tensor, "B heads T d"], Float[Tensor, "B heads T d"]
    ]:
        """Return queries, keys and values of every head, not turned."""
        batch, count, _ = tokens.shape
        projected: Tensor = self.qkv(tokens)
        parts = projected.reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def queries(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return the queries alone, not turned; the heads lie side by side."""
        return self._project_by(tokens, slice(0, tokens.shape[-1]))

    def keys_and_values(
        self, tokens: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        """Return keys and values without queries, not turned; the heads lie side by side."""
        keys, values = self._project_by(tokens, slice(tokens.shape[-1], None)).chunk(2, dim=-1)
        return keys, values

    def _project_by(self, tokens: Tensor, rows: slice) -> Tensor:
        bias = self.qkv.used_bias() if isinstance(self.qkv, QKV) else self.qkv.bias
        return F.linear(tokens, self.qkv.weight[rows], None if bias is None else bias[rows])


def _steps_are_faster(query: Tensor) -> bool:
    """Tell whether to avoid torch's fused attention, whose backward on a CPU in bfloat16 is slow.

    Measured on two cores with AVX-512 and AMX, forward and backward in bfloat16, heads of 64
    channels: `_attend_by_steps` is 6 times faster at 37 tokens, 4.5 times at 101, 2.5 times at 197
    and 2.2 times at 577; it holds tokens x tokens weights, hence the limit. In float32, and
    without gradients, the fused kernel is about as fast or faster.
    """
    trains = torch.is_grad_enabled() and query.requires_grad
    small = query.dtype == torch.bfloat16 and query.shape[-2] <= _MOST_TOKENS_BY_STEPS
    return trains and small and query.device.type == "cpu"


def _attend_by_steps(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention in plain products. Within the softmax, sums and exponentials are in float32."""
    with torch.autocast(query.device.type, enabled=False):  # it would copy the scores to float32
        scores = (query * query.shape[-1] ** -0.5) @ key.mT
        mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed
