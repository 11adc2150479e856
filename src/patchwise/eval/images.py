"""k-NN classification of labelled images by their CLS features."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_positive, check_within
from patchwise.data.labelled import LabelledData
from patchwise.data.loader import iterate_images
from patchwise.data.source import ImageSource
from patchwise.eval.features import look
from patchwise.eval.knn import KNN, knn_result
from patchwise.eval.results import DataIdentity, KNNResult, ModelIdentity
from patchwise.eval.setup import start
from patchwise.models.backbone import Backbone

_BATCH = 64


@dataclass(frozen=True)
class KNNImages:
    """Each test image takes the class of the images with the most similar CLS features.

    1. The short side is resized to ``resize_px``, and ``crop_px`` are cut from the middle.
    2. Weighted k-NN among the fit images, see `KNN`. With one part only, each image is classified
       by all others of the same set.

    Source: DINO, Caron et al. 2021, arXiv:2104.14294, and its published evaluation.
    Differs: Nothing known, with two parts.
    """

    preset: str
    k: int = 20
    temperature: float = 0.07
    resize_px: int = 256
    crop_px: int = 224
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        check_positive("KNNImages", k=self.k, temperature=self.temperature, crop_px=self.crop_px)
        check_within("KNNImages", 1, self.resize_px, crop_px=self.crop_px)

    def run(self, backbone: Backbone, data: LabelledData, model: ModelIdentity) -> KNNResult:
        """Score ``backbone``, which must be in eval mode, on labelled images."""
        count = len(data.test_labels)
        identity = DataIdentity(data.name, len(data.fit), count, data.fingerprint())
        setup = start(self, identity, model, backbone.device)
        memory = self._features(backbone, data.fit)
        queries = memory if data.test is None else self._features(backbone, data.test)
        votes = KNN(self.k, self.temperature).classify(
            queries, memory, torch.from_numpy(data.fit.labels), leave_one_out=data.test is None
        )
        return knn_result(
            votes,
            torch.from_numpy(data.test_labels),
            memory=len(memory) - (data.test is None),
            fingerprint=setup.fingerprint(),
        )

    def _features(self, backbone: Backbone, source: ImageSource) -> Float[Tensor, "M D"]:
        """Return the CLS feature of every image, in order."""
        batches = iterate_images(
            source, batch=_BATCH, resize_px=self.resize_px, crop_px=self.crop_px
        )
        found = [look(backbone, batch.pixels).cls.cpu() for batch in batches]
        return torch.cat(found)
