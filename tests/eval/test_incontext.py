"""Segmentation by retrieval, against the words of its definition."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from patchwise.data.class_list import IGNORED
from patchwise.errors import RangeError
from patchwise.eval.incontext import InContext, Memory
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.features.look import look
from tests.eval.tiny import ColourBlocks, Sighted, colour_data, subject_of

PROTOCOL = InContext("p", size_px=32, k=7, temperature=0.1)


def slow_reference(protocol: InContext, data: Any) -> list[float]:
    """One patch at a time, over the whole memory."""
    keys, shares = [], []
    for index in range(len(data.fit)):
        image, label = data.fit.read(index)
        features = features_of(image)
        for row in range(4):
            for column in range(4):
                cell = label[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                counts = np.array([(cell == c).sum() for c in range(3)])
                if counts.sum():
                    keys.append(features[4 * row + column])
                    shares.append(torch.from_numpy(counts / counts.sum()))
    matrix = ConfusionMatrix(3, ignored=IGNORED)
    for index in range(len(data.test)):
        image, label = data.test.read(index)
        scores = torch.zeros(3, 4, 4, dtype=torch.float64)
        for place, query in enumerate(features_of(image)):
            cosine = torch.stack([F.cosine_similarity(query, key, dim=0) for key in keys])
            nearest = cosine.argsort(descending=True)[: protocol.k]
            weights = (cosine[nearest] / protocol.temperature).double().exp()
            mixed = sum(w * shares[i] for w, i in zip(weights, nearest, strict=True))
            scores[:, place // 4, place % 4] = mixed / weights.sum()
        large = F.interpolate(scores[None], size=(32, 32), mode="bilinear")[0].argmax(dim=0)
        matrix.add(large, torch.from_numpy(label))
    return matrix.iou().tolist()


def features_of(image: np.ndarray) -> torch.Tensor:
    return look(Sighted(), torch.from_numpy(image).movedim(-1, 0)[None]).patches[0]


@pytest.mark.parametrize("unlabelled", [0.0, 0.3])
def test_it_is_what_its_definition_says(unlabelled: float) -> None:
    data = colour_data(unlabelled=unlabelled)
    few: dict[str, Any] = {"unlabelled": unlabelled}
    small = replace(data, fit=ColourBlocks(4, **few), test=ColourBlocks(3, seed=1, **few))
    result = PROTOCOL.run(subject_of(Sighted()), small)
    expected = slow_reference(PROTOCOL, small)
    assert list(result.iou.values()) == pytest.approx(expected, abs=1e-6)


def test_the_memory_is_drawn_evenly_from_all_images() -> None:
    keys, shares = replace(PROTOCOL, memory=48)._memory(subject_of(Sighted()), colour_data())
    assert len(keys) == len(shares) == 48  # two of each of 24 images
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(48))
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(48))


@pytest.mark.parametrize("most", [5, 12, 20, 37, 60])
def test_every_image_gives_as_evenly_as_it_can(most: int) -> None:
    counts = [9, 1, 4, 9, 0, 2, 9, 9, 3, 9]  # 55 patches; key: (image, number)
    memory = Memory(most)
    for image, count in enumerate(counts):
        keys = torch.tensor([[float(image), float(n)] for n in range(count)]).reshape(count, 2)
        memory.add(keys, keys)
    keys, shares = memory.drawn()
    assert torch.equal(keys, shares)
    assert len(keys) == min(most, 55)
    taken = [int((keys[:, 0] == image).sum()) for image in range(10)]
    level = max(taken)
    for count, own in zip(counts, taken, strict=True):
        assert own in (min(count, level), min(count, level - 1))
    if most >= 10:
        assert all(own for count, own in zip(counts, taken, strict=True) if count)
    assert all(n < level for n in keys[:, 1].tolist())


def test_a_fraction_takes_other_images_for_other_seeds() -> None:
    part = replace(PROTOCOL, fraction=0.125, k=3)
    memories = [
        replace(part, seed=seed)._memory(subject_of(Sighted()), colour_data())[0] for seed in (0, 1)
    ]
    assert len(memories[0]) == len(memories[1]) == 3 * 16
    assert not torch.equal(*memories)


def test_patches_without_labels_are_not_remembered() -> None:
    keys, _ = PROTOCOL._memory(subject_of(Sighted()), colour_data(unlabelled=1.0 - 1e-3))
    assert 0 < len(keys) < 24 * 16


@pytest.mark.bad_input
def test_too_small_a_memory_is_refused() -> None:
    with pytest.raises(RangeError, match=r"at least k=50 labelled patches, got 16 of 1 images"):
        replace(PROTOCOL, fraction=0.01, k=50).run(subject_of(Sighted()), colour_data())


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["size_px", "memory", "k", "temperature", "fraction"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"{name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0}))
