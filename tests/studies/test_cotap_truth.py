"""Truth of the scenes in the place of what CoTAP finds itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies.cotap_truth import categories, knowing, true_neighbours
from torch import Tensor
from torch.nn import functional as F

import patchwise
from patchwise.configs.neighbours import NeighboursConfig
from patchwise.data.synthetic import CATEGORIES, Scenes
from patchwise.methods.paired_views import PairedViews
from patchwise.methods.ranking import Ranking, rank_patches
from patchwise.methods.taught import TaughtPatches
from tests.api.cotap_runs import train
from tests.small_runs import small_vit

SCENES = Scenes(12)


def test_neighbours_share_categories() -> None:
    source: Any = None
    found = true_neighbours(SCENES, source, source, NeighboursConfig(k=3))
    known = categories(SCENES).numpy()
    counts = np.array(
        [[(scene == kind).sum() for kind in range(1, 1 + len(CATEGORIES))] for scene in known]
    )
    keys = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    for image, (ids, cosines) in enumerate(zip(found.ids, found.cosines, strict=True)):
        alike = keys @ keys[image]
        others = sorted(set(range(12)) - {image}, key=lambda other: -alike[other])
        assert image not in ids
        np.testing.assert_allclose(cosines, alike[others[:3]], atol=1e-6)
        np.testing.assert_allclose(alike[ids], alike[others[:3]], atol=1e-6)


def seen(
    truth: str | None, weights: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[TaughtPatches, PairedViews]]:
    """Train for a step or two; return by what patches were ranked."""
    calls = []

    def noted(student: Tensor, taught: TaughtPatches, views: PairedViews, *rest: Any) -> Ranking:
        calls.append((taught, views))
        return rank_patches(student, taught, views, *rest)

    monkeypatch.setattr("studies.cotap_truth.rank_patches", noted)
    monkeypatch.setattr("patchwise.methods.cotap.rank_patches", noted)
    with knowing(truth, SCENES):
        train(
            "scenes:12", out, weights, settings={"train.epochs": 0.7, "method.patch_prototypes": 16}
        )
    return calls


def true_shares(views: PairedViews, side: int) -> Tensor:
    """Cut crops out by whole pixels."""
    known = F.one_hot(categories(SCENES), 1 + len(CATEGORIES)).double().permute(0, 3, 1, 2)
    rows = []
    for crop in views.crops[:2]:
        for image, (top, left, height, width) in zip(
            views.key.ids.tolist(), crop.boxes.tolist(), strict=True
        ):
            cut = known[image, :, top : top + height, left : left + width]
            rows.append(F.adaptive_avg_pool2d(cut, side).permute(1, 2, 0))
    return torch.stack(rows).reshape(2, -1, side, side, 1 + len(CATEGORIES))


@pytest.mark.parametrize("truth", ["mask", "targets", None])
def test_patches_are_told_the_truth(
    truth: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patchwise.save_backbone(small_vit(), tmp_path / "w.safetensors")
    calls = seen(truth, tmp_path / "w.safetensors", tmp_path / "run", monkeypatch)
    assert len(calls) >= 2
    taught, views = calls[-1]
    shares = true_shares(views, taught.foreground.shape[-1])
    objects = shares[..., 0] <= 0.5
    right = (taught.foreground == objects).double().mean()
    assert (right > 0.93) == (truth == "mask")
    if truth == "targets":
        told = taught.scores.double()
        assert (told[..., : shares.shape[-1]] - shares).abs().mean() < 0.02
        assert not told[..., shares.shape[-1] :].any()
    else:
        assert taught.scores[..., shares.shape[-1] :].any()  # the head's own
