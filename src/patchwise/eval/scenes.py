"""k-NN over patches of synthetic scenes, whose categories are known exactly."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from patchwise.checks import check_positive
from patchwise.data.synthetic import CATEGORIES, render_scenes
from patchwise.eval.knn import KNN
from patchwise.eval.results import KNNResult
from patchwise.models.backbone import Backbone
from patchwise.normalisation import normalise

EVALUATION_SEED = 2**20  # no training uses it: these scenes are always held out
_BATCH = 50

PatchFeatures = Callable[[Float[Tensor, "B 3 H W"]], Float[Tensor, "B N D"]]


def knn_scene_patches(
    features: PatchFeatures,
    *,
    patch_px: int,
    size_px: int = 64,
    memory_scenes: int = 400,
    query_scenes: int = 200,
) -> KNNResult:
    """Classify each patch of held-out scenes by the most similar patches of other scenes.

    Only patches of which at least half is one object count; the background is no category.

    Args:
        features: Maps normalised scenes to one feature a patch; see `backbone_patches` and
            `pixel_patches`.
        patch_px: Side of a patch, in pixels.
        size_px: Side of the scenes, in pixels.
        memory_scenes: Scenes whose labelled patches are the memory.
        query_scenes: Scenes whose patches are classified.
    """
    check_positive("knn_scene_patches", memory_scenes=memory_scenes, query_scenes=query_scenes)
    ids = np.arange(memory_scenes + query_scenes)
    memory, labels = labelled_patches(
        features, ids[:memory_scenes], patch_px=patch_px, size_px=size_px
    )
    query, truth = labelled_patches(
        features, ids[memory_scenes:], patch_px=patch_px, size_px=size_px
    )
    knn = KNN()
    votes = knn.classify(query, memory, labels)
    preset = f"knn/scene-patches size={size_px} patch={patch_px} memory={memory_scenes}"
    return knn.score(votes, truth, memory=len(memory), preset=preset)


def backbone_patches(backbone: Backbone) -> PatchFeatures:
    """Return the function from scenes to a backbone's patch features."""
    device = backbone.device
    return lambda images: backbone(images.to(device)).patches.cpu()


def pixel_patches(patch_px: int) -> PatchFeatures:
    """Return the function from scenes to the pixels of each patch: what any model must beat."""
    return lambda images: F.unfold(images, patch_px, stride=patch_px).mT


def majority_category(semantic: UInt8[Tensor, "B H W"], *, patch_px: int) -> Int[Tensor, "B N"]:
    """Return the category 1, 2, ... that covers at least half of each patch; 0 if none does."""
    one_hot = F.one_hot(semantic.long(), len(CATEGORIES) + 1).movedim(-1, 1).float()
    share = F.avg_pool2d(one_hot, patch_px).flatten(2)  # [B, K + 1, N]
    most, category = share[:, 1:].max(dim=1)
    return torch.where(most >= 0.5, category + 1, 0)


@torch.inference_mode()
def labelled_patches(
    features: PatchFeatures, ids: Int64[np.ndarray, " B"], *, patch_px: int, size_px: int
) -> tuple[Float[Tensor, "M D"], Int[Tensor, " M"]]:
    """Return features and category 0, 1, ... of the patches of evaluation scenes that have one.

    Args:
        features: See `knn_scene_patches`.
        ids: Of the scenes.
        patch_px: Side of a patch, in pixels.
        size_px: Side of the scenes, in pixels.
    """
    found, labels = [], []
    for start in range(0, len(ids), _BATCH):
        scenes = render_scenes(ids[start : start + _BATCH], size_px=size_px, seed=EVALUATION_SEED)
        images = torch.from_numpy(scenes.images).movedim(-1, 1).float() / 255
        category = majority_category(torch.from_numpy(scenes.semantic), patch_px=patch_px)
        found.append(features(normalise(images)).float()[category > 0])
        labels.append(category[category > 0] - 1)
    return torch.cat(found), torch.cat(labels)
