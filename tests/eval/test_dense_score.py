"""The label-free score: of backbones of which it is known what they keep."""

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from patchwise.data.synthetic import Scenes
from patchwise.errors import DataError, RangeError
from patchwise.eval.baselines import RawPatches
from patchwise.eval.dense_score import DenseScore
from patchwise.models.backbone import Backbone, BackboneOutput
from tests.eval.tiny import Sighted, colour_data, subject_of

SCENES = Scenes(64)
PROTOCOL = DenseScore("health/dense", size_px=64, images=48)


def score(backbone: Backbone, *, batch: int = 32, **settings: Any) -> float:
    protocol = replace(PROTOCOL, **settings)
    return protocol.run(replace(subject_of(backbone), batch=batch), SCENES).score


class Made(Sighted):
    """Means of colours, and channels that are made up."""

    dim = 16

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.draw = torch.Generator().manual_seed(0)

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        seen = super().__call__(images)
        shape = (*seen.patches.shape[:2], 13)
        noise = torch.randn(shape, generator=self.draw)
        place = torch.randn(shape[1:], generator=torch.Generator().manual_seed(1)).expand(shape)
        patches = {
            "seen": F.pad(seen.patches, (0, 13)),
            "noise": torch.cat([0 * seen.patches, noise], dim=-1),
            "place": torch.cat([0 * seen.patches, place], dim=-1),
            "constant": F.pad(0 * seen.patches + 1, (0, 13)),
            "seen and noise": torch.cat([seen.patches, noise], dim=-1),
            "seen on place": F.pad(seen.patches + place[..., :3], (0, 13)),
            "seen and place": torch.cat([seen.patches, place], dim=-1),
        }[self.kind]
        return BackboneOutput(patches.mean(dim=1), patches, seen.grid)


@pytest.mark.parametrize("kind", ["noise", "place", "constant"])
def test_what_tells_nothing_of_the_image_scores_nothing(kind: str) -> None:
    assert score(Made(kind)) == pytest.approx(0, abs=0.1)


def test_few_pairs_of_noise_score_nothing_on_average() -> None:
    """By chance alone they would have 13^2 / 4 N = 0.44."""
    scores = [score(Made("noise"), pairs=96, seed=seed) for seed in range(8)]
    assert fmean(scores) == pytest.approx(0, abs=0.1)


def test_what_shows_the_image_scores_by_what_it_shows() -> None:
    seen = score(Made("seen"))
    assert 1 < seen < 3  # three channels
    assert score(RawPatches(8)) > seen


@pytest.mark.parametrize("kind", ["seen and noise", "seen and place", "seen on place"])
def test_what_is_added_without_meaning_changes_little(kind: str) -> None:
    assert score(Made(kind)) == pytest.approx(score(Made("seen")), abs=0.25)


class Stale(Made):
    """Sees one view in two through a mirror that it was never told of."""

    def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        return super().__call__(images.flip(-1))


def test_patches_are_compared_where_they_show_the_same() -> None:
    assert score(Stale("seen")) < score(Made("seen")) / 2


def test_scale_and_mixing_of_channels_do_not_matter() -> None:
    class Mixed(Sighted):
        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            seen = super().__call__(images)
            turn = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [0, 1, 4], [5, 6, 0]]))[0]
            patches = 100 * seen.patches @ turn + 7
            return BackboneOutput(seen.cls, patches, seen.grid)

    assert score(Mixed()) == pytest.approx(score(Sighted()), rel=1e-3)


def test_neither_the_batch_nor_the_run_matters() -> None:
    first = score(RawPatches(8))
    assert score(RawPatches(8)) == first
    assert score(RawPatches(8), batch=7) == pytest.approx(first, rel=1e-5)


@dataclass(frozen=True)
class Backwards:
    """The same scenes in another order."""

    name = "backwards"

    def __len__(self) -> int:
        return len(SCENES)

    def read(self, index: int) -> NDArray[np.uint8]:
        return SCENES.read(len(SCENES) - 1 - index)

    def describe(self, index: int) -> str:
        return SCENES.describe(index)

    def fingerprint(self) -> str:
        return "backwards"


def test_another_draw_of_images_and_views_moves_it_little() -> None:
    first = score(RawPatches(8))
    others = [
        score(RawPatches(8), seed=1),
        PROTOCOL.run(subject_of(RawPatches(8)), Backwards()).score,
    ]
    for other in others:
        assert other != first
        assert other == pytest.approx(first, rel=0.3)


def test_pairs_are_limited_and_counted() -> None:
    result = PROTOCOL.run(subject_of(Sighted()), SCENES)
    few = replace(PROTOCOL, pairs=480).run(subject_of(Sighted()), SCENES)
    assert 48 * 10 < result.pairs < 48 * 64
    assert few.pairs == 480
    assert few.score == pytest.approx(result.score, rel=0.25)
    assert (result.dim, result.fingerprint.data.test) == (3, 48)


def test_larger_overlaps_share_more_pairs() -> None:
    whole = replace(PROTOCOL, area_frac=(0.9, 1.0)).run(subject_of(Sighted()), SCENES)
    assert whole.pairs > PROTOCOL.run(subject_of(Sighted()), SCENES).pairs


def test_labels_are_not_needed_and_not_read() -> None:
    data = colour_data()
    protocol = DenseScore("p", size_px=32)
    images = protocol.run(subject_of(Sighted()), data.test.images)
    assert protocol.run(subject_of(Sighted()), data).score == images.score
    assert images.fingerprint.data.sha256 == data.test.images.fingerprint()


@pytest.mark.bad_input
def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="data must hold at least 2 images, got 1"):
        PROTOCOL.run(subject_of(Sighted()), Scenes(1))
    with pytest.raises(RangeError, match=r"area_frac\[1\] must lie in"):
        replace(PROTOCOL, area_frac=(0.5, 0.4))
    with pytest.raises(RangeError, match="images must lie in"):
        replace(PROTOCOL, images=1)
