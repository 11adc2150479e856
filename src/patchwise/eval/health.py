"""How healthy a backbone's features are: without labels, and with the masks of scenes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from patchwise.checks import check_positive, check_within
from patchwise.data.source import ImageSource
from patchwise.data.synthetic import Scenes
from patchwise.eval.results import DataIdentity, HealthResult
from patchwise.eval.setup import start
from patchwise.eval.squares import class_shares, squash
from patchwise.features.read import read_features
from patchwise.features.subject import Subject
from patchwise.features.transform import Squash
from patchwise.ops.statistics import dispersion, effective_rank, high_norm_share, position_bias
from patchwise.randomness import random_order

_MASKS = 256  # more than any value of a mask


@dataclass(frozen=True)
class HealthFeatures:
    """What features are like, whatever they are for.

    1. Of more than ``images`` images that many are drawn; each is squashed to ``size_px``.
    2. Effective ranks (RankMe) of all patch and of all CLS features; the share of the patches'
       variance that their place alone explains; the share of patches whose norm is more than
       ``high_norm_times`` the median.
    3. With scenes, whose masks are known: mean cosine distances between patches of one object, of
       one category and of different categories. A patch belongs to the object that covers at least
       ``least_share`` of it; the others do not count.

    Source: Garrido et al. 2023, arXiv:2210.02885, for the ranks; see `patchwise.ops.statistics`.
    Differs: the paper takes the rank of 25,600 images; fewer images bound it from above.
    """

    preset: str
    size_px: int
    images: int = 500
    high_norm_times: float = 2.0
    least_share: float = 0.5
    seed: int = 0

    version = 1

    def __post_init__(self) -> None:
        check_positive("HealthFeatures", size_px=self.size_px, images=self.images)
        check_within("HealthFeatures", 1.0, 1e9, high_norm_times=self.high_norm_times)
        check_within("HealthFeatures", 0.0, 1.0, least_share=self.least_share)

    @torch.inference_mode()
    def run(self, subject: Subject, source: ImageSource) -> HealthResult:
        """Measure a model's features.

        Args:
            subject: Whose features.
            source: Images; with `Scenes`, dispersion is measured too.
        """
        ids = random_order(len(source), self.seed)[: self.images].tolist()
        identity = DataIdentity(source.name, 0, len(ids), source.fingerprint())
        setup = start(self, identity, subject)
        outputs = list(read_features(subject, source, Squash(self.size_px), ids=ids))
        cls = torch.cat([output.cls for output in outputs])
        patches = torch.cat([output.patches for output in outputs])  # [B, N, D]
        rows = patches.flatten(0, 1)
        distances: tuple[float | None, ...] = (None, None, None)
        if isinstance(source, Scenes):
            distances = self._dispersion(rows, source, ids, patch_px=subject.backbone.patch_px)
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
        )

    def _dispersion(
        self, rows: Float[Tensor, "M D"], scenes: Scenes, ids: Sequence[int], *, patch_px: int
    ) -> tuple[float | None, ...]:
        """Return the three distances; None where there is no pair of that sort."""
        masks = scenes.scenes(np.array(ids))
        category = self._most(masks.semantic, patch_px)
        instance = self._most(masks.instance, patch_px)
        scene = torch.arange(len(ids)).repeat_interleave(len(category) // len(ids))
        kept = (category > 0) & (instance > 0)
        if not kept.any():
            return (None, None, None)
        device = rows.device
        found = dispersion(
            rows[kept.to(device)],
            (scene * _MASKS + instance)[kept].to(device),
            category[kept].to(device),
        )
        distances = (found.within_instance, found.within_class, found.between_classes)
        return tuple(None if d.isnan() else float(d) for d in distances)

    def _most(self, masks: np.ndarray, patch_px: int) -> Int[Tensor, " M"]:
        """Return the value that covers enough of each patch; 0, the background, if none does."""
        squares = [squash(mask, self.size_px, Image.Resampling.NEAREST) for mask in masks]
        labels = torch.from_numpy(np.stack(squares))
        shares = class_shares(labels, patch_px=patch_px, classes=int(labels.max()) + 1)
        share, value = shares.flatten(0, 1).max(dim=-1)
        return torch.where(share >= self.least_share, value, 0)
