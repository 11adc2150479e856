"""k-NN classification of labelled images by their CLS features."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.data.loader import iterate_images
from patchwise.data.source import ImageSource, LabelledSource
from patchwise.eval.knn import KNN
from patchwise.eval.results import KNNResult
from patchwise.models.backbone import Backbone
from patchwise.normalisation import normalise

_BATCH = 64


@torch.inference_mode()
def image_features(
    backbone: Backbone, source: ImageSource, *, crop_px: int
) -> Float[Tensor, "M D"]:
    """Return the CLS feature of every image, in order.

    Args:
        backbone: In eval mode.
        source: The images: short side resized to 256/224 of ``crop_px``, then centre-cropped.
        crop_px: Side of the images that the backbone sees; a multiple of its patch.
    """
    device = backbone.device
    resize_px = round(crop_px * 256 / 224)
    found = [
        backbone(normalise(batch.pixels.to(device).float() / 255)).cls.float().cpu()
        for batch in iterate_images(source, batch=_BATCH, resize_px=resize_px, crop_px=crop_px)
    ]
    return torch.cat(found)


def knn_images(backbone: Backbone, source: LabelledSource, *, crop_px: int) -> KNNResult:
    """Classify each image by the most similar others of the same set (leave one out)."""
    features = image_features(backbone, source, crop_px=crop_px)
    labels = torch.from_numpy(source.labels)
    knn = KNN()
    votes = knn.classify(features, features, labels, leave_one_out=True)
    preset = f"knn/leave-one-out crop={crop_px}"
    return knn.score(votes, labels, memory=len(features) - 1, preset=preset)
