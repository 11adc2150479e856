"""Which patches are remembered, and what of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from patchwise.data.class_list import IGNORED
from patchwise.eval.memory import Chosen, Sampling, choose_patches, remember
from patchwise.features.look import look
from tests.eval.tiny import ColourBlocks, Sighted, subject_of

SQUARE = (32, 8, 3)  # 4 x 4 patches, three classes


def choose(source: Any, most: int, **options: Any) -> Chosen:
    settings: dict[str, Any] = {"sampling": "even", "seed": 0, **options}
    return choose_patches(source, range(len(source)), square=SQUARE, most=most, **settings)


class Counted(ColourBlocks):
    """Images with so many labelled patches each."""

    counts = (9, 1, 4, 9, 0, 2, 9, 9, 3, 9)  # 55 patches

    def label(self, index: int) -> np.ndarray:
        label = np.full((32, 32), IGNORED, np.uint8)
        for patch in range(self.counts[index]):
            row, column = divmod(patch, 4)
            label[8 * row, 8 * column] = patch % 3
        return label


@pytest.mark.parametrize("sampling", ["even", "rare"])
@pytest.mark.parametrize("most", [1, 5, 12, 20, 37, 54, 55, 60])
def test_every_image_gives_as_evenly_as_it_can(most: int, sampling: Sampling) -> None:
    source = Counted(10)
    chosen = choose(source, most, sampling=sampling)
    taken = [len(each) for each in chosen.patches]
    assert sum(taken) == len(chosen) == min(most, 55)
    level = max(taken)
    lower = [own == min(count, level) for count, own in zip(source.counts, taken, strict=True)]
    assert all(
        own in (min(count, level), min(count, level - 1))
        for count, own in zip(source.counts, taken, strict=True)
    )
    given = [full for full, count in zip(lower, source.counts, strict=True) if count >= level]
    assert given == sorted(given, reverse=True)  # the last round goes to those that come first
    for count, each in zip(source.counts, chosen.patches, strict=True):
        assert len(set(each.tolist())) == len(each)
        assert all(patch < count for patch in each.tolist())


def test_what_more_images_would_push_out_is_not_held() -> None:
    """With a part of the images known, those that can be drawn are the same as with all."""
    many, few = choose(ColourBlocks(40), 25), choose(ColourBlocks(40), 640)
    assert [len(each) for each in many.patches] == [1] * 25 + [0] * 15
    for drawn, order in zip(many.patches, few.patches, strict=True):
        assert drawn.tolist() == order[: len(drawn)].tolist()


def test_seeds_draw_other_patches() -> None:
    drawn = [choose(ColourBlocks(5), 20, seed=seed).patches for seed in (0, 0, 1)]
    first, again, other = ([each.tolist() for each in patches] for patches in drawn)
    assert first == again != other


class OneRare(ColourBlocks):
    """15 patches of class 0 and one of class 1, whose place depends on the image."""

    def label(self, index: int) -> np.ndarray:
        label = np.zeros((32, 32), np.uint8)
        row, column = divmod(index % 16, 4)
        label[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
        return label


def test_rare_classes_come_first_by_the_stated_chance() -> None:
    """15 u of 15 others, each, against u of the one: it is first with probability 15 / 16 ...

    P = integral over u in [0, 1) of (1 - u / 15)^15 = (15 / 16) (1 - (14 / 15)^16).
    """
    images = 1600
    expected = 15 / 16 * (1 - (14 / 15) ** 16)
    shares = {}
    for sampling in ("rare", "even"):
        patches = choose(OneRare(images), images, sampling=sampling).patches
        shares[sampling] = np.mean([each[0] == i % 16 for i, each in enumerate(patches)])
    assert shares["rare"] == pytest.approx(expected, abs=0.04)
    assert shares["even"] == pytest.approx(1 / 16, abs=0.02)


@pytest.mark.parametrize("memory_bytes", [0, 10**9])
@pytest.mark.parametrize("unlabelled", [0.0, 0.3])
def test_features_and_shares_are_those_of_the_patches(memory_bytes: int, unlabelled: float) -> None:
    source = ColourBlocks(6, unlabelled=unlabelled, block_px=16)
    chosen = choose(source, 50)
    subject = replace(subject_of(Sighted()), memory_bytes=memory_bytes, batch=4)
    memory = remember(subject, source, chosen, size_px=32, classes=3)
    with memory.keys as keys:
        assert keys.on_disk == (memory_bytes == 0)
        stored, shares = keys.read(0, 50), memory.shares.toarray()
    place = 0
    for index, patches in enumerate(chosen.patches):
        image, label = source.read(index)
        pixels = torch.from_numpy(image).movedim(-1, 0)[None]
        features = look(Sighted(), pixels).patches[0]
        for patch in patches.tolist():
            row, column = divmod(patch, 4)
            cell = label[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            counts = np.array([(cell == c).sum() for c in range(3)])
            np.testing.assert_allclose(shares[place], counts / counts.sum(), rtol=1e-6)
            expected = F.normalize(features[patch], dim=0).half().float()
            torch.testing.assert_close(stored[place], expected, atol=1e-3, rtol=0)
            place += 1
    assert place == 50


def test_mixing_is_the_weighted_sum_of_shares() -> None:
    source = ColourBlocks(6)
    memory = remember(subject_of(Sighted()), source, choose(source, 90), size_px=32, classes=3)
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(90, (7, 5), generator=generator)
    index[2, 1] = index[2, 0]  # the same twice counts twice
    weights = torch.rand(7, 5, generator=generator)
    shares = torch.from_numpy(memory.shares.toarray())
    expected = torch.einsum("qk,qkc->qc", weights, shares[index])
    torch.testing.assert_close(memory.mix(weights, index), expected)
