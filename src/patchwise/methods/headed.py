"""A backbone with what is trained on top of it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from patchwise.configs.methods import PWSelfConfig
from patchwise.models.heads import ProjectionHead
from patchwise.models.vit import ViT


class HeadedBackbone(nn.Module):
    """Backbone with the head that CLS and patch tokens share, or with one for each."""

    def __init__(self, backbone: ViT, config: PWSelfConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = _make_head(backbone, config)
        apart = config.matching != "none" and not config.shared_head
        self.patch_head = _make_head(backbone, config) if apart else None

    @property
    def heads(self) -> list[ProjectionHead]:
        """The head of all tokens; or that of CLS, then that of the patches."""
        return [self.head] if self.patch_head is None else [self.head, self.patch_head]

    def bottleneck(self, tokens: Float[Tensor, "VB N D"]) -> Float[Tensor, "VB N C"]:
        """Return the unit vector of every token, CLS first."""
        if self.patch_head is None:
            return self.head.bottleneck(tokens)
        parts = [self.head.bottleneck(tokens[:, :1]), self.patch_head.bottleneck(tokens[:, 1:])]
        return torch.cat(parts, dim=1)

    def answer(self, head: ProjectionHead, tokens: Float[Tensor, "R D"]) -> Float[Tensor, "R C"]:
        """Return the unit vectors of some tokens; saves memory if the backbone does."""
        if not self.backbone.checkpointed:
            return head.bottleneck(tokens)
        again = checkpoint(head.bottleneck, tokens, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(again, Tensor), "a head returns vectors"
        return again


def _make_head(backbone: ViT, config: PWSelfConfig) -> ProjectionHead:
    return ProjectionHead(
        backbone.dim,
        hidden_dim=config.head_hidden_dim,
        bottleneck_dim=config.bottleneck_dim,
        prototypes=config.prototypes,
    )
