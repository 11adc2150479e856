"""Unsupervised segmentation, pixel by pixel as it is defined."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from patchwise.errors import RangeError
from patchwise.eval.unsupseg import UnsupervisedSegmentation
from patchwise.features.read import read_features
from patchwise.features.transform import CentreCrop
from patchwise.models.backbone import BackboneOutput
from patchwise.ops.clustering import Centres, faiss_k_means
from tests.eval.tiny import ColourBlocks, ImagesOf, Sighted, colour_data, subject_of

PROTOCOL = UnsupervisedSegmentation("p", 32, patches=10, iterations=20, restarts=5)


@dataclass(frozen=True)
class Beside:
    """Two images side by side, 32 x 64 px."""

    blocks: ColourBlocks

    def __len__(self) -> int:
        return len(self.blocks) // 2

    @property
    def images(self) -> ImagesOf:
        return ImagesOf(self)

    def label(self, index: int) -> NDArray[np.uint8]:
        return self.read(index)[1]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        pairs = zip(self.blocks.read(2 * index), self.blocks.read(2 * index + 1), strict=True)
        left, right = (np.concatenate(pair, axis=1) for pair in pairs)
        return left, right

    def fingerprint(self) -> str:
        return repr(self)


class Noisy(Sighted):
    """Colours, with noise drawn by the pixels, of very different lengths."""

    def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
        seen = super().__call__(images)
        noise = torch.sin(seen.patches * torch.tensor([917.0, 1213.0, 771.0]))
        patches = (seen.patches + noise) * (2 + noise.sum(dim=-1, keepdim=True)).exp()
        return replace(seen, patches=patches)


def test_it_is_the_definition_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are enlarged, each pixel goes to the highest cosine, most pixels are right."""
    data = colour_data(unlabelled=0.2)
    found: list[Centres] = []

    def noting(*points: Any, **options: Any) -> Centres:
        found.append(faiss_k_means(*points, **options))
        return found[-1]

    monkeypatch.setattr("patchwise.eval.unsupseg.faiss_k_means", noting)
    result = PROTOCOL.run(replace(subject_of(Noisy()), batch=5), data)
    counts, crop = np.zeros((3, 3), int), CentreCrop(32, 32)
    for index, seen in enumerate(read_features(replace(subject_of(Noisy()), batch=1),
                                               data.test.images, crop)):  # fmt: skip
        maps = seen.patches.mT.reshape(1, 3, 4, 4)
        pixels = F.interpolate(maps, size=(32, 32), mode="bilinear")[0].flatten(1).T
        cosine = F.cosine_similarity(pixels[:, None], found[0].places, dim=-1)
        label = data.test.label(index).reshape(-1)
        for k, c in zip(cosine.argmax(dim=1).tolist(), label.tolist(), strict=True):
            if c != 255:
                counts[k, c] += 1
    rows, columns = linear_sum_assignment(-counts)
    right = counts[rows, columns]
    union = counts.sum(axis=1)[rows] + counts.sum(axis=0)[columns] - right
    expected = dict(zip(columns.tolist(), (right / union).tolist(), strict=True))
    assert 0.2 < result.miou < 0.9
    assert result.pixel_accuracy == pytest.approx(right.sum() / counts.sum())
    assert list(result.iou.values()) == pytest.approx([expected[c] for c in range(3)])


def test_the_middle_of_the_labels_is_that_of_the_image() -> None:
    data = colour_data()
    wide = replace(data, fit=Beside(ColourBlocks(24)), test=Beside(ColourBlocks(24, seed=1)))
    assert PROTOCOL.run(subject_of(Sighted()), wide).miou > 0.97


def test_labels_that_are_resized_keep_their_values() -> None:
    data = colour_data(unlabelled=0.2)
    assert replace(PROTOCOL, size_px=48).run(subject_of(Sighted()), data).miou > 0.9


def test_each_image_gives_patches_of_other_places() -> None:
    class Places(Sighted):
        def __call__(self, images: torch.Tensor, *, attention: bool = False) -> BackboneOutput:
            patches = torch.eye(16).expand(len(images), 16, 16)
            return BackboneOutput(patches.mean(dim=1), patches, (4, 4))

    points = replace(PROTOCOL, patches=1)._points(subject_of(Places()), colour_data().fit)
    assert len(set(points.argmax(dim=1).tolist())) > 5


def test_clusters_come_from_the_fit_images_and_never_from_their_labels() -> None:
    data = colour_data()

    class NoLabels(ColourBlocks):
        def label(self, index: int) -> NDArray[np.uint8]:
            raise AssertionError

    blind = replace(data, fit=NoLabels(24))
    other = replace(data, fit=ColourBlocks(24, seed=7))
    scores = [PROTOCOL.run(subject_of(Noisy()), d).miou for d in (data, blind, other)]
    assert scores[0] == scores[1] != scores[2]


def test_that_many_patches_are_drawn_of_that_many_images() -> None:
    source = colour_data().fit
    few = replace(PROTOCOL, images=5, patches=3)
    points = few._points(subject_of(Noisy()), source)
    assert points.shape == (15, 3)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(15))
    assert len(torch.unique(points, dim=0)) == 15
    whole = replace(PROTOCOL, images=99, patches=99)._points(subject_of(Noisy()), source)
    assert whole.shape == (24 * 16, 3)
    assert all((whole - point).abs().sum(dim=1).min() < 1e-6 for point in points)
    other = replace(few, seed=1)._points(subject_of(Noisy()), source)
    assert not torch.equal(points, other)
    one_by_one = few._points(replace(subject_of(Noisy()), batch=1), source)
    torch.testing.assert_close(points, one_by_one)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["size_px", "images", "patches", "iterations", "restarts"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"{name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0}))


@pytest.mark.bad_input
def test_too_few_patches_are_an_error() -> None:
    with pytest.raises(RangeError, match="got 2 points for 3 clusters"):
        replace(PROTOCOL, images=1, patches=2).run(subject_of(Sighted()), colour_data())
