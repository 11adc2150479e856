"""How healthy a backbone's features are: without labels, and with them if there are any."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchwise.checks import check_positive, check_within
from patchwise.data.segmentation import SegmentationData
from patchwise.data.source import ImageSource
from patchwise.eval.objects import NOTHING, Objects, find_objects, scored_images
from patchwise.eval.results import DataIdentity, HealthResult
from patchwise.eval.setup import start
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.ops.statistics import dispersion, effective_rank, high_norm_share, position_bias
from patchwise.randomness import random_order

_IMAGES, _PLACES = 0, 1  # keys of draws


@dataclass(frozen=True)
class HealthFeatures:
    """What features are like, whatever they are for.

    1. Of more than ``images`` images that many are drawn; each is squashed to ``size_px``. Of more
       than ``patches`` patches in all of them, places are drawn, the same in every image.
    2. Effective ranks (RankMe) of all patch and of all CLS features; the share of the patches'
       variance that their place alone explains; the share of patches whose norm is more than
       ``high_norm_times`` the median.
    3. Mean cosine distances between patches of one object, of one category (different objects) and
       of different categories, where `patchwise.eval.objects` finds objects. A patch belongs to the
       object or class that covers at least ``least_share`` of it; the others do not count.

    Source: Garrido et al. 2023, arXiv:2210.02885, for the ranks; see `patchwise.ops.statistics`.
    Differs: the paper takes the rank of 25,600 images; fewer images bound it from above.
    """

    preset: str
    size_px: int
    images: int = 500
    patches: int = 100_000
    high_norm_times: float = 2.0
    least_share: float = 0.5
    seed: int = 0

    version = 2

    def __post_init__(self) -> None:
        name = "HealthFeatures"
        check_positive(name, size_px=self.size_px, images=self.images, patches=self.patches)
        check_within(name, 1.0, 1e9, high_norm_times=self.high_norm_times)
        check_within(name, 0.0, 1.0, least_share=self.least_share)

    @torch.inference_mode()
    def run(self, subject: Subject, data: ImageSource | SegmentationData) -> HealthResult:
        """Measure a model's features.

        Args:
            subject: Whose features.
            data: Images; with `Scenes` or labelled pixels (the test part), the distances are those
                of true objects or classes.
        """
        source = scored_images(data)
        ids = random_order(len(source), self.seed, _IMAGES)[: self.images].tolist()
        identity = DataIdentity(data.name, 0, len(ids), data.fingerprint())
        setup = start(self, identity, subject)
        cls, patches, places = self._features(subject, source, ids)
        rows = patches.flatten(0, 1)
        objects = find_objects(
            subject, data, ids, size_px=self.size_px, least_share=self.least_share
        )
        distances = (None, None, None) if objects is None else _distances(patches, objects, places)
        return HealthResult(
            fingerprint=setup.fingerprint(),
            patch_rank=float(effective_rank(rows)),
            image_rank=float(effective_rank(cls)),
            dim=patches.shape[-1],
            position_bias=float(position_bias(patches)),
            high_norm_share=float(high_norm_share(rows, times=self.high_norm_times)),
            within_instance=distances[0],
            within_class=distances[1],
            between_classes=distances[2],
            objects=None if objects is None else objects.origin,
        )

    def _features(
        self, subject: Subject, source: ImageSource, ids: Sequence[int]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B P D"], list[int]]:
        """Return CLS features, patch features at some places, and these places."""
        cls, patches, places = [], [], [0]
        for output in read_features(subject, source, Squash(self.size_px), ids=ids):
            number = output.patches.shape[1]
            kept = max(1, min(number, self.patches // len(ids)))
            places = sorted(random_order(number, self.seed, _PLACES)[:kept].tolist())
            cls.append(output.cls)
            patches.append(output.patches[:, places])
        return torch.cat(cls), torch.cat(patches), places


def _distances(
    patches: Float[Tensor, "B P D"], objects: Objects, places: Sequence[int]
) -> tuple[float | None, ...]:
    """Return the three distances; None where there is no pair of that sort."""
    instance = objects.instance[:, places].to(patches.device)
    category = objects.category[:, places].to(patches.device)
    kept = instance != NOTHING
    if not kept.any():
        return (None, None, None)
    found = dispersion(patches[kept], instance[kept], category[kept])
    distances = (found.within_instance, found.within_class, found.between_classes)
    return tuple(None if d.isnan() else float(d) for d in distances)
