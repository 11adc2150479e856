"""The object-aware filter: every token is told again, as a mixture of prototypes of objects.

Letters: B images, N patches row by row, T = 1 + N tokens: CLS, patches; D channels, d channels of
one head, M prototypes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.checks import check_positive, check_shape
from patchwise.models.attention import Attention
from patchwise.models.block import Block

SIDE = 3  # cells of a prototype, each way
_EPS = 1e-6  # of the norms


class ObjectFilter(nn.Module):
    """A second pass through the last block, in which tokens attend to prototypes instead.

    With the tokens x that leave the last block:

    1. Queries are those of norm1(x); keys and values are made of norm_in(prototypes) by the same
       weights, one key for each of a prototype's 3 x 3 cells.
    2. Score of a patch and a prototype, for each head: the 3 x 3 correlation of the map of queries,
       with zeros around it, with the prototype's keys. CLS lies nowhere: its query meets the mean
       of the keys.
    3. Softmax over prototypes of score / sqrt(M); a prototype's value is the mean of its cells.
    4. x' = x + ls1(proj(values)); x' = x' + ls2(mlp(norm2(x'))), by the block's own weights.
    5. Features are LayerNorm([x ; x']), 2 D wide, one norm for patches and one for CLS.

    Prototypes take no part in the gradient here: a loss of their own moves them.

    Source: Wen et al. 2025, "Semantic Concentration for Self-Supervised Dense Representations
        Learning" (CoTAP), arXiv:2509.09429.
    Differs: LayerScale, of which their models have none, scales both residuals. Where positions
        are rotary, nothing is turned here, for prototypes lie nowhere. Without stochastic depth.
    """

    def __init__(self, dim: int, prototypes: int) -> None:
        super().__init__()
        check_positive("ObjectFilter", prototypes=prototypes)
        self.prototypes = nn.Parameter(torch.randn(prototypes, dim, SIDE, SIDE))
        self.norm_in = nn.LayerNorm(dim, eps=_EPS)
        self.norm_out_patch = nn.LayerNorm(2 * dim, eps=_EPS)
        self.norm_out_cls = nn.LayerNorm(2 * dim, eps=_EPS)

    def forward(
        self,
        tokens: Float[Tensor, "B T D"],
        grid: tuple[int, int],
        block: Block,
    ) -> tuple[Float[Tensor, "B two_D"], Float[Tensor, "B N two_D"]]:
        """Return the features of CLS and of the patches.

        Args:
            tokens: After the last block, without registers and before any other norm.
            grid: Rows and columns of the patches.
            block: The last block.
        """
        weights, values = self._attend(tokens, grid, block)
        filtered = tokens + block.ls1(self._project(weights, values, block.attn.proj))
        filtered = filtered + block.ls2(block.mlp(block.norm2(filtered)))
        both = torch.cat([tokens, filtered], dim=-1)
        cls, patches = torch.split(both, [1, grid[0] * grid[1]], dim=1)
        return self.norm_out_cls(cls[:, 0]), self.norm_out_patch(patches)

    def attention(
        self, tokens: Float[Tensor, "B T D"], grid: tuple[int, int], block: Block
    ) -> Float[Tensor, "B heads N M"]:
        """Return the weights with which patches read the prototypes; they sum to 1 over them."""
        weights, _ = self._attend(tokens, grid, block)
        return weights[:, 1:].transpose(1, 2)

    @torch.no_grad()
    def set_prototypes(self, prototypes: Float[Tensor, "M D 3 3"]) -> None:
        """Put other prototypes in the place of these.

        Raises:
            ShapeError: They are of another number or shape.
        """
        shape = tuple(self.prototypes.shape)
        check_shape("ObjectFilter.set_prototypes", shape, prototypes=prototypes)
        self.prototypes.copy_(prototypes)

    def _attend(
        self, tokens: Tensor, grid: tuple[int, int], block: Block
    ) -> tuple[Float[Tensor, "B T heads M"], Float[Tensor, "M heads d"]]:
        """Return the weights of the prototypes for each token, and the prototypes' values."""
        keys, values = self._keys_and_values(block.attn)
        queries = block.attn.queries(block.norm1(tokens))
        count, heads = len(keys), block.attn.heads
        with torch.autocast(queries.device.type, enabled=False):  # it would copy to float32
            keys = keys * count**-0.5
            cls, patches = torch.split(queries, [1, grid[0] * grid[1]], dim=1)
            of_cls = torch.einsum(
                "bthd,mhd->bthm", cls.reshape(len(cls), 1, heads, -1), keys.mean(dim=1)
            )
            # One convolution, its groups the heads; queries lie in memory as channels-last maps do.
            kernel = keys.permute(2, 0, 3, 1).reshape(heads * count, -1, SIDE, SIDE)
            maps = patches.reshape(len(patches), *grid, -1).permute(0, 3, 1, 2)
            found = F.conv2d(maps, kernel, padding=SIDE // 2, groups=heads)
            of_patches = found.permute(0, 2, 3, 1).reshape(*patches.shape[:2], heads, count)
            return torch.cat([of_cls, of_patches], dim=1).softmax(dim=-1), values.mean(dim=1)

    def _keys_and_values(
        self, attn: Attention
    ) -> tuple[Float[Tensor, "M cells heads d"], Float[Tensor, "M cells heads d"]]:
        tokens = self.norm_in(self.prototypes.detach().flatten(2).mT)
        keys, values = attn.keys_and_values(tokens)
        shape = (*tokens.shape[:2], attn.heads, -1)
        return keys.reshape(shape), values.reshape(shape)

    def _project(self, weights: Tensor, values: Tensor, proj: nn.Linear) -> Tensor:
        """Return proj of the mixture; values are projected before they are mixed, being fewer."""
        per_head = proj.weight.reshape(len(proj.weight), weights.shape[2], -1)  # [D, heads, d]
        projected = torch.einsum("mhd,ehd->ehm", values, per_head).flatten(1)
        return F.linear(weights.flatten(2), projected, proj.bias)
