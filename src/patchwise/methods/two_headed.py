"""A backbone, with a filter or without, and a head each for patches and for images."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from patchwise.configs.cotap import CoTAPConfig
from patchwise.models.backbone import BackboneOutput
from patchwise.models.filtered_vit import FilteredViT
from patchwise.models.heads import ProjectionHead
from patchwise.models.sample_bank import pool_samples
from patchwise.models.vit import ViT


class TwoHeadedBackbone(nn.Module):
    """What CoTAP trains."""

    def __init__(self, backbone: ViT | FilteredViT, config: CoTAPConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.patch_head = _make_head(backbone.dim, config, config.patch_prototypes)
        self.image_head = _make_head(backbone.dim, config, config.image_prototypes)

    @property
    def vit(self) -> ViT:
        """The ViT behind the filter, or without one."""
        return self.backbone.vit if isinstance(self.backbone, FilteredViT) else self.backbone

    def encode(
        self,
        pixels: Float[Tensor, "B 3 H W"],
        *,
        sampled: bool,
        kept: Bool[Tensor, "B depth 2"] | None = None,
    ) -> tuple[BackboneOutput, Float[Tensor, "B D 3 3"] | None]:
        """Return the features of images and, if wanted, samples of what enters the last block.

        Args:
            pixels: Of the images.
            sampled: Whether samples are wanted; only a filter has a use for them.
            kept: By stochastic depth, see `PairedViews.kept`; None: see `ViT`.
        """
        if not (sampled and isinstance(self.backbone, FilteredViT)):
            return self.backbone(pixels, kept=kept), None
        kept = self.vit.draw_kept(len(pixels)) if kept is None else kept
        tokens, grid = self.vit.before_last_block(pixels, kept)
        patches = tokens[:, 1 + self.vit.config.registers :].detach()
        full = patches.to(torch.promote_types(patches.dtype, torch.float32))
        return self.backbone.finish(tokens, grid, kept=kept), pool_samples(full, grid)

    def patch_scores(self, output: BackboneOutput, images: int) -> Float[Tensor, "V N H W K"]:
        """Return the scores of all patches of several views of N images."""
        scores = self._score(self.patch_head, output.patches)
        return scores.reshape(-1, images, *output.grid, scores.shape[-1])

    def image_scores(self, output: BackboneOutput, images: int) -> Float[Tensor, "V N K"]:
        """Return the scores of the CLS tokens of several views of N images."""
        scores = self._score(self.image_head, output.cls)
        return scores.reshape(-1, images, scores.shape[-1])

    def _score(self, head: ProjectionHead, tokens: Float[Tensor, "... D"]) -> Tensor:
        """Return scores in float32 at least, which temperatures of 0.05 want."""
        if self.vit.checkpointed and torch.is_grad_enabled():
            vectors = checkpoint(
                head.bottleneck, tokens, use_reentrant=False, preserve_rng_state=False
            )
            assert isinstance(vectors, Tensor), "a head returns vectors"
        else:
            vectors = head.bottleneck(tokens)
        with torch.autocast(vectors.device.type, enabled=False):
            return head.scores(vectors)


def _make_head(dim: int, config: CoTAPConfig, prototypes: int) -> ProjectionHead:
    return ProjectionHead(
        dim,
        hidden_dim=config.head_hidden_dim,
        bottleneck_dim=config.bottleneck_dim,
        prototypes=prototypes,
        last_bias=False,
    )
