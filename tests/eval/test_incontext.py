"""Segmentation by retrieval, against the words of its definition."""

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from patchwise.data.class_list import IGNORED
from patchwise.errors import ChoiceError, RangeError
from patchwise.eval.incontext import InContext
from patchwise.eval.metrics import ConfusionMatrix
from patchwise.features.look import look
from patchwise.features.search import nearest_exact
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


def test_scores_are_means_of_shares_weighted_by_their_words() -> None:
    protocol = replace(PROTOCOL, temperature=0.01, k=200)
    subject, data = subject_of(Sighted()), colour_data(unlabelled=0.4)
    memory = protocol._remember(subject, data)
    queries = protocol._queries(subject, data.test, range(3))
    found = nearest_exact(queries, memory.keys, 200)
    got = torch.cat(list(protocol._mixed(memory, found, 3, 2)))
    shares = torch.from_numpy(memory.shares.toarray())
    for place in range(3 * 16):
        weights = [math.exp((float(c) - 1) / 0.01) for c in found.values[place]]
        mixed = sum(w * shares[i] for w, i in zip(weights, found.index[place], strict=True))
        image, row, column = place // 16, place % 16 // 4, place % 4
        torch.testing.assert_close(got[image, :, row, column], mixed / sum(weights))


def test_a_fraction_takes_other_images_for_other_seeds() -> None:
    part = replace(PROTOCOL, fraction=0.125, k=3)
    kept = []
    for seed in (0, 1):
        memory = replace(part, seed=seed)._remember(subject_of(Sighted()), colour_data())
        kept.append(memory.keys.read(0, len(memory.keys)))
    assert len(kept[0]) == len(kept[1]) == 3 * 16
    assert not torch.equal(*kept)


def test_patches_without_labels_are_not_remembered() -> None:
    memory = PROTOCOL._remember(subject_of(Sighted()), colour_data(unlabelled=1.0 - 1e-3))
    assert 0 < len(memory.keys) < 24 * 16


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_no_score_depends_on_the_memory_that_may_be_used(search: Any) -> None:
    """From everything at once and in memory to one image at a time and on the disk."""
    protocol = replace(PROTOCOL, search=search, cells=6, probes=2, memory=300)
    results = []
    for memory_bytes in (0, 2**16, 2**32):
        subject = replace(subject_of(Sighted()), memory_bytes=memory_bytes)
        results.append(protocol.run(subject, colour_data(unlabelled=0.2)))
    assert results[0].iou == results[1].iou == results[2].iou
    assert results[0].search_recall == results[1].search_recall == results[2].search_recall


def test_images_at_once_take_half_the_memory() -> None:
    subject = replace(subject_of(Sighted()), memory_bytes=2 * 16 * (8 * 3 + 24 * 7) * 5)
    assert PROTOCOL._images_at_once(subject) == 5
    probing = replace(PROTOCOL, search="approximate", probes=100)
    assert probing._images_at_once(replace(subject, memory_bytes=2 * 16 * (24 + 168 + 4000))) == 1
    assert PROTOCOL._images_at_once(replace(subject, memory_bytes=1)) == 1


def test_approximate_search_says_what_it_finds() -> None:
    data, subject = colour_data(), subject_of(Sighted())
    exact = PROTOCOL.run(subject, data)
    assert exact.search_recall is None
    nearly = replace(PROTOCOL, search="approximate", cells=9)
    whole = replace(nearly, probes=9).run(subject, data)
    assert whole.search_recall == 1.0
    assert whole.iou == exact.iou
    part = replace(nearly, probes=1).run(subject, data).search_recall
    assert part is not None
    assert 0.3 < part < 1.0


@pytest.mark.bad_input
def test_too_small_a_memory_is_refused() -> None:
    with pytest.raises(RangeError, match=r"at least k=50 labelled patches, got 16 of 1 images"):
        replace(PROTOCOL, fraction=0.01, k=50).run(subject_of(Sighted()), colour_data())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "name", ["size_px", "memory", "k", "temperature", "fraction", "cells", "probes"]
)
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(RangeError, match=f"{name} must be positive, got 0"):
        replace(PROTOCOL, **cast(Any, {name: 0}))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["sampling", "search"])
def test_choices_are_checked(name: str) -> None:
    with pytest.raises(ChoiceError, match=f"{name} must be one of .*, got 'other'"):
        replace(PROTOCOL, **cast(Any, {name: "other"}))
