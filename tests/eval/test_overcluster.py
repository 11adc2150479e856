"""Overclustering against scikit-learn, PyTorch's resizing and loops over clusters and classes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torch.nn import functional as F

from patchwise.data.segmentation import SegmentationData
from patchwise.errors import RangeError
from patchwise.eval.overcluster import Overclustering, to_nearest
from patchwise.models.backbone import BackboneOutput
from patchwise.ops.clustering import faiss_k_means
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = Overclustering(
    "p", 32, 32, clusters=8, dims=20, runs=2, iterations=20, restarts=2, points_per_cluster=10
)


def hard_data() -> SegmentationData:
    """Blocks of 11 px, cut by patches of 8 px, some of whose pixels are void."""
    test = ColourBlocks(12, seed=1, block_px=11, unlabelled=0.2)
    return replace(colour_data(), test=test)


class Codes(Sighted):
    """One of a few features for each patch, which follow its colours in part."""

    def __init__(self, code: Callable[[np.ndarray], np.ndarray], codes: int) -> None:
        self.code = code
        self.features = torch.randn(codes, 20, generator=torch.Generator().manual_seed(0))

    def codes(self, images: torch.Tensor) -> torch.Tensor:
        seen = super().__call__(images).patches
        noise = (seen.sum(dim=-1) * 1000).long() % 10
        return torch.from_numpy(self.code(np.stack([seen.argmax(dim=-1), noise])))

    def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
        patches = self.features[self.codes(images)]
        side = images.shape[-1] // self.patch_px
        return BackboneOutput(patches.mean(dim=1), patches, (side, side))


MANY = Codes(lambda seen: np.where(seen[1] < 6, seen[0], 3 + seen[1] % 2), 5)
FEW = Codes(lambda seen: np.where(seen[1] < 6, seen[0], (seen[0] + 1) % 3), 3)


def as_published(codes: Codes, data: SegmentationData, *, size_px: int, label_px: int) -> Any:
    """Clusters that are known, and labels, at all pixels that count: as in Leopart's evaluation."""
    clusters, labels = [], []
    for index in range(len(data.test)):
        image, label = (Image.fromarray(pixels) for pixels in data.test.read(index))
        seen = np.array(image.resize((size_px, size_px), Image.Resampling.BICUBIC))
        pixels = torch.from_numpy(seen / 255).float().movedim(-1, 0)[None]
        mean, deviation = (
            torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        )
        side = size_px // 8
        code = codes.codes((pixels - mean) / deviation).reshape(1, 1, side, side).float()
        squashed = np.array(label.resize((size_px, size_px), Image.Resampling.NEAREST))
        maps = (code, torch.from_numpy(squashed)[None, None].float())
        found = [F.interpolate(m, size=(label_px, label_px), mode="nearest").long() for m in maps]
        clusters.append(found[0].flatten())
        labels.append(found[1].flatten())
    cluster, truth = torch.cat(clusters), torch.cat(labels)
    kept = truth != 255
    return cluster[kept].numpy(), truth[kept].numpy()


@pytest.mark.parametrize("label_px", [20, 48])
def test_it_is_the_published_way_with_many_to_one(label_px: int) -> None:
    data = hard_data()
    cluster, truth = as_published(MANY, data, size_px=48, label_px=label_px)
    predicted = np.zeros_like(cluster)
    for k in range(5):
        precision = [((cluster == k) & (truth == c)).sum() / (cluster == k).sum() for c in range(3)]
        predicted[cluster == k] = np.argmax(precision)
    protocol = replace(PROTOCOL, size_px=48, label_px=label_px, clusters=5, restarts=20)
    result = protocol.run(subject_of(MANY), data)
    expected = jaccard_score(truth, predicted, average=None)
    assert 0.2 < expected.mean() < 0.9
    assert list(result.iou.values()) == pytest.approx(expected)
    assert result.miou == pytest.approx(expected.mean())
    assert result.miou_by_run == pytest.approx((expected.mean(),) * 2)
    assert result.pixel_accuracy == pytest.approx((truth == predicted).mean())


def test_it_is_the_published_way_with_as_many_clusters_as_classes() -> None:
    data = hard_data()
    cluster, truth = as_published(FEW, data, size_px=48, label_px=20)
    best = max(
        (
            jaccard_score(truth, np.array(order)[cluster], average=None)
            for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        ),
        key=np.sum,
    )
    protocol = replace(PROTOCOL, size_px=48, label_px=20, clusters=None, restarts=20)
    result = protocol.run(subject_of(FEW), data)
    assert list(result.iou.values()) == pytest.approx(best)
    told = replace(protocol, clusters=3).run(subject_of(FEW), data)
    assert told.iou == result.iou


@pytest.mark.parametrize(("side", "size"), [(448, 100), (28, 100), (32, 100), (56, 100), (10, 7)])
def test_maps_are_resized_as_pytorch_does(side: int, size: int) -> None:
    maps = torch.randint(0, 500, (2, side, side), generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(maps[:, None].float(), size=(size, size), mode="nearest")[:, 0]
    assert torch.equal(to_nearest(maps, size), expected.long())


class Noisy(Sighted):
    """Colours with so much noise, drawn by the pixels, that clusters are not the classes."""

    def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
        seen = super().__call__(images)
        noise = torch.sin(seen.patches * torch.tensor([917.0, 1213.0, 771.0]))
        patches = torch.cat([seen.patches + noise, 3 * noise], dim=-1)
        return BackboneOutput(patches.mean(dim=1), patches, seen.grid)


def miou(protocol: Overclustering = PROTOCOL, data: Any = None, **subject: Any) -> float:
    result = protocol.run(replace(subject_of(Noisy()), **subject), data or hard_data())
    return result.miou


def test_the_order_of_the_images_and_the_batch_change_nothing_where_it_is_hard() -> None:
    data = hard_data()
    order = (3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 11, 10)
    shuffled = replace(data, test=replace(cast(ColourBlocks, data.test), order=order))
    found = miou()
    assert found < 0.8
    assert miou(data=shuffled) == pytest.approx(found, abs=1e-6)
    assert miou(batch=5) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("memory_bytes", [0, 2 * 12 * 16 * 4 * 5])
def test_less_memory_changes_nothing(memory_bytes: int) -> None:
    assert miou(memory_bytes=memory_bytes) == pytest.approx(miou(), abs=1e-6)


def test_the_seed_and_the_runs_draw_anew() -> None:
    first = PROTOCOL.run(subject_of(Noisy()), hard_data())
    assert first.miou_by_run is not None
    assert len(set(first.miou_by_run)) == 2
    assert miou(replace(PROTOCOL, seed=1)) != first.miou
    alone = replace(PROTOCOL, runs=1).run(subject_of(Noisy()), hard_data())
    assert alone.miou == first.miou_by_run[0]


def test_more_clusters_score_higher_whatever_the_features() -> None:
    """So scores with other numbers of clusters must not be compared."""
    scores = [miou(replace(PROTOCOL, clusters=k, points_per_cluster=99)) for k in (4, 20, 90)]
    assert scores == sorted(scores)


def test_the_settings_reach_k_means(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    sums: list[float] = []

    def noting(points: torch.Tensor, clusters: int, **options: Any) -> Any:
        calls.append((len(points), points.shape[1], clusters, options))
        sums.append(float(points.sum()))
        return faiss_k_means(points, clusters, **options)

    monkeypatch.setattr("patchwise.eval.overcluster.faiss_k_means", noting)
    replace(PROTOCOL, dims=4, runs=3).run(subject_of(Noisy()), hard_data())
    assert [call[:3] for call in calls] == [(80, 4, 8)] * 3
    assert {call[3]["iterations"] for call in calls} == {20}
    assert {call[3]["restarts"] for call in calls} == {2}
    assert len({call[3]["seed"] for call in calls}) == len(set(sums)) == 3


@pytest.mark.bad_input
def test_too_few_patches_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(RangeError, match="192 points for 500 clusters; give more images, or fewer"):
        replace(PROTOCOL, clusters=500).run(subject_of(Sighted()), colour_data())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name",
    [
        "size_px", "label_px", "clusters", "dims", "runs", "iterations", "restarts",
        "points_per_cluster",
    ],
)  # fmt: skip
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"{name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0}))
