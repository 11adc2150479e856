"""The images that pictures are made of, and what a backbone makes of them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchwise.models.backbone import Backbone, prepare
from patchwise.models.filtered_vit import FilteredViT

_BATCH = 32


@dataclass(frozen=True)
class Gallery:
    """Images of one size, of which the first ``shown`` are seen and all are searched.

    Letters: B images, S their side, N patches of each. Objects are numbered from 1, no number twice
    in all images.
    """

    images: UInt8[np.ndarray, "B S S 3"]
    names: tuple[str, ...]
    shown: int
    origin: str  # what they are and how they were chosen, to stand after "Images: "
    categories: Int[Tensor, "B N"] | None = None  # of each patch where known; 0: of none
    objects: Int[Tensor, "B N"] | None = None  # of each patch where known; 0: of none


@dataclass(frozen=True)
class Seen:
    """What one backbone makes of a gallery; M prototypes if it has an object-aware filter."""

    patches: Float[Tensor, "B N D"]
    attention: Float[Tensor, "B heads N"]  # of CLS in the last block, to the patches
    grid: tuple[int, int]
    # With what weights patches read the prototypes, the mean over heads; None: there are none.
    prototypes: Float[Tensor, "B N M"] | None = None


@torch.inference_mode()
def look(backbone: Backbone, gallery: Gallery) -> Seen:
    """Return patch features and attention of all images, on the CPU in float32.

    Args:
        backbone: In eval mode; its patch divides the images' side.
        gallery: The images.
    """
    patches, attention, prototypes = [], [], []
    grid = (0, 0)
    for start in range(0, len(gallery.images), _BATCH):
        pixels = torch.from_numpy(gallery.images[start : start + _BATCH]).movedim(-1, 1)
        prepared = prepare(backbone, pixels)
        output = backbone(prepared, attention=True)
        assert output.attention is not None, "it was asked for"
        patches.append(output.patches.float().cpu())
        attention.append(output.attention.float().cpu())
        grid = output.grid
        if isinstance(backbone, FilteredViT):
            weights, _ = backbone.prototype_attention(prepared)
            prototypes.append(weights.float().mean(dim=1).cpu())
    read = torch.cat(prototypes) if prototypes else None
    return Seen(torch.cat(patches), torch.cat(attention), grid, read)
