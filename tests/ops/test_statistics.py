"""Statistics have the values that can be worked out by hand, and no others for half precision."""

import doctest
import math
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.errors import RangeError, ShapeError
from patchwise.ops import statistics
from patchwise.ops.statistics import (
    dispersion,
    effective_rank,
    entropy_frac,
    high_norm_share,
    position_bias,
    prototype_use,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_examples_hold() -> None:
    assert doctest.testmod(statistics).attempted > 5
    assert doctest.testmod(statistics).failed == 0


@pytest.mark.parametrize("shape", [(50, 7), (7, 50), (9, 9)])
def test_the_rank_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    rows = noise(*shape).double()
    for centred in (False, True):
        values = torch.linalg.svdvals(rows - rows.mean(dim=0) if centred else rows)
        share = values[values > 1e-9] / values.sum()
        expected = math.exp(-float((share * share.log()).sum()))
        assert float(effective_rank(rows, centred=centred)) == pytest.approx(expected, rel=1e-6)


def test_the_rank_depends_neither_on_scale_nor_rotation() -> None:
    rows = noise(40, 6)
    turn = torch.linalg.qr(noise(6, 6, seed=1))[0]
    assert float(effective_rank(1e-4 * rows @ turn)) == pytest.approx(
        float(effective_rank(rows)), rel=1e-4
    )


def test_the_rank_of_degenerate_features() -> None:
    assert float(effective_rank(torch.zeros(5, 3))) == 0
    assert float(effective_rank(torch.ones(1, 3))) == pytest.approx(1)
    equal = noise(1, 8).expand(20, 8)
    assert float(effective_rank(equal)) == pytest.approx(1, abs=1e-4)
    assert float(effective_rank(equal, centred=True)) == 0


@pytest.mark.parametrize("k", [1, 2, 1000])
def test_entropy_is_one_for_equal_and_zero_for_certain_answers(k: int) -> None:
    assert entropy_frac(torch.full((3, k), 1 / k)).tolist() == pytest.approx(3 * [float(k > 1)])
    assert entropy_frac(torch.eye(k)[:2]).abs().max() == 0


def test_prototype_use_counts_those_that_are_used_alike() -> None:
    for used in (1, 3, 8):
        answers = torch.eye(8)[torch.arange(24) % used]
        assert float(prototype_use(answers)) == pytest.approx(used / 8)
    assert float(prototype_use(torch.full((1, 8), 1 / 8))) == pytest.approx(1)


def slow_dispersion(features: Tensor, instance: Tensor, category: Tensor) -> list[float]:
    found: list[list[float]] = [[], [], []]
    unit = F.normalize(features.double(), dim=-1)
    for i, j in combinations(range(len(unit)), 2):
        same = int(category[i] == category[j]), int(instance[i] == instance[j])
        place = 2 if not same[0] else 1 - same[1]
        found[place].append(1 - float(unit[i] @ unit[j]))
    return [sum(each) / len(each) for each in found]


def test_dispersion_is_that_of_all_pairs() -> None:
    features = noise(40, 5) + 1
    category = torch.arange(40) % 3
    instance = torch.arange(40) // 3 % 4  # numbers come again in other classes
    found = dispersion(features, instance, category)
    got = [float(d) for d in (found.within_instance, found.within_class, found.between_classes)]
    assert got == pytest.approx(slow_dispersion(features, instance, category), abs=1e-9)


def test_dispersion_tells_instances_and_classes_apart() -> None:
    category, instance = torch.arange(300) // 100, torch.arange(300) // 10
    features = 3 * noise(3, 16)[category] + noise(30, 16, seed=1)[instance]
    found = dispersion(features + 0.3 * noise(300, 16, seed=2), instance, category)
    assert found.instance_ratio < found.class_ratio < 1


def test_dispersion_without_such_pairs_is_no_number() -> None:
    found = dispersion(torch.ones(2, 3), torch.tensor([0, 0]), torch.tensor([0, 0]))
    assert float(found.within_instance) == pytest.approx(0)
    assert torch.isnan(found.within_class)
    assert torch.isnan(found.between_classes)


@pytest.mark.parametrize("images", [2, 3, 50])
def test_noise_has_no_position_bias(images: int) -> None:
    assert float(position_bias(noise(images, 64, 32))) < 0.03


def test_position_bias_is_the_share_of_the_places_variance() -> None:
    place = noise(1, 100, 8)
    for share in (0.2, 0.5, 0.9):
        patches = place * share**0.5 + noise(40, 100, 8, seed=1) * (1 - share) ** 0.5
        assert float(position_bias(patches)) == pytest.approx(share, abs=0.05)
    assert float(position_bias(place.expand(4, 100, 8))) == pytest.approx(1)


def test_position_bias_of_degenerate_patches_is_zero() -> None:
    assert float(position_bias(noise(1, 9, 4))) == 0
    assert float(position_bias(torch.full((3, 9, 4), 0.1))) == 0
    assert float(position_bias(noise(8, 1, 4))) == 0
    images = noise(8, 1, 4).expand(8, 9, 4)  # images differ, places do not
    assert float(position_bias(images)) == 0


def test_few_long_features_are_counted() -> None:
    features = F.normalize(noise(100, 8), dim=-1)
    assert float(high_norm_share(features)) == 0
    features[::10] *= 5
    assert float(high_norm_share(features)) == pytest.approx(0.1)
    assert float(high_norm_share(torch.zeros(4, 2))) == 0


def test_half_precision_and_gradients_do_no_harm() -> None:
    rows = noise(64, 8).requires_grad_()
    for half in (torch.bfloat16, torch.float16):
        assert float(effective_rank(rows.to(half))) == pytest.approx(
            float(effective_rank(rows)), rel=0.01
        )
    assert not effective_rank(rows).requires_grad


@pytest.mark.bad_input
def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"effective_rank: features must have 2 axes"):
        effective_rank(torch.zeros(3))
    with pytest.raises(ShapeError, match=r"position_bias: patches must have 3 axes"):
        position_bias(torch.zeros(0, 3, 2))
    with pytest.raises(ShapeError, match=r"dispersion: instance and category must have one entry"):
        dispersion(torch.zeros(3, 2), torch.zeros(2).long(), torch.zeros(3).long())
    with pytest.raises(RangeError, match=r"times must be at least 1, got 0.5"):
        high_norm_share(torch.ones(3, 2), times=0.5)
