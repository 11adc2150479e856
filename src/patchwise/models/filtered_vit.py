"""A vision transformer whose features have passed the object-aware filter as well.

Letters: B images, H W pixels, N patches, D channels of the ViT, M prototypes.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchwise.configs.backbone import FilteredViTConfig
from patchwise.configs.normalisation import Normalisation
from patchwise.models.backbone import BackboneOutput
from patchwise.models.object_filter import ObjectFilter
from patchwise.models.vit import Grid, ViT


class FilteredViT(nn.Module):
    """A `ViT` and an `ObjectFilter` behind its last block. Features are 2 D wide.

    The filter uses the weights of the last block once more; see `ObjectFilter`. Registers are
    dropped before it. The ViT's own final LayerNorm is not applied; it stays for ``vit``, the plain
    backbone, whose D-wide features are the fair baseline of the filtered ones.
    """

    def __init__(self, vit: ViT, prototypes: int) -> None:
        super().__init__()
        self.vit = vit
        self.filter = ObjectFilter(vit.dim, prototypes)
        self.dim, self.patch_px = 2 * vit.dim, vit.patch_px

    @property
    def config(self) -> FilteredViTConfig:
        """Architecture of both."""
        return FilteredViTConfig(self.vit.config, len(self.filter.prototypes))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vit.device

    @property
    def normalisation(self) -> Normalisation:
        """How its images are normalised, which callers do."""
        return self.vit.normalisation

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        *,
        attention: bool = False,
        kept: Bool[Tensor, "B depth 2"] | None = None,
    ) -> BackboneOutput:
        """Return the features of ``images``; arguments and errors are those of `ViT`.

        The attention is that of the ViT's last block, not of the filter.
        """
        kept = self.vit.draw_kept(len(images)) if kept is None else kept
        tokens, grid = self.vit.before_last_block(images, kept)
        return self.finish(tokens, grid, attention=attention, kept=kept)

    def finish(
        self,
        tokens: Float[Tensor, "B T D"],
        grid: Grid,
        *,
        attention: bool = False,
        kept: Bool[Tensor, "B depth 2"] | None = None,
    ) -> BackboneOutput:
        """Return the features of images from what ``vit.before_last_block`` gives of them."""
        left, to_patches = self.vit.through_last_block(tokens, grid, attention=attention, kept=kept)
        entering = self._without_registers(left)
        cls, patches = self.vit.run_part(self.filter, entering, grid, self.vit.last_block)
        return BackboneOutput(cls, patches, grid, to_patches)

    def prototype_attention(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B heads N M"], Grid]:
        """Return with what weights each head of each patch reads the prototypes, and the grid."""
        tokens, grid = self.vit.before_last_block(images)
        left, _ = self.vit.through_last_block(tokens, grid)
        entering = self._without_registers(left)
        return self.filter.attention(entering, grid, self.vit.last_block), grid

    def _without_registers(self, tokens: Tensor) -> Tensor:
        registers = self.vit.config.registers
        if not registers:
            return tokens
        return torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], dim=1)
