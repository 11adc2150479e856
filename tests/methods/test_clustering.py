"""Clustering losses from scores and assignments: which crops foretell which."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.losses.dense_swapped_prediction import SharedRegion
from patchwise.methods.clustering import cluster_images, cluster_neighbours, cluster_patches
from patchwise.methods.shared_regions import CropPair
from patchwise.methods.taught import TaughtImages, TaughtPatches
from tests.small_runs import COTAP_CONFIG

CONFIG = replace(COTAP_CONFIG, student_temperature=0.3, neighbour_student_temperature=0.7)
IMAGES, VIEWS, K = 6, 5, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT = random(VIEWS, IMAGES, K)
TAUGHT = TaughtImages(random(2, IMAGES, K), random(2, IMAGES, K, seed=1).softmax(dim=-1))


def cost(scores: Tensor, wanted: Tensor, temperature: float) -> float:
    return float(-(wanted * F.log_softmax(scores / temperature, dim=-1)).sum())


def test_every_view_foretells_the_global_ones_but_itself() -> None:
    costs = [
        cost(STUDENT[v, i], TAUGHT.assignments[g, i], 0.3)
        for i in range(IMAGES)
        for g in range(2)
        for v in range(VIEWS)
        if v != g
    ]
    found = cluster_images(STUDENT, TAUGHT, VIEWS, CONFIG)
    assert float(found) == pytest.approx(sum(costs) / len(costs), rel=1e-12)


def test_shares_of_views_add_up() -> None:
    whole = cluster_images(STUDENT, TAUGHT, VIEWS, CONFIG)
    shares = [
        cluster_images(STUDENT[first : first + count], TAUGHT, VIEWS, CONFIG, first=first)
        for first, count in ((0, 2), (2, 1), (3, 2))
    ]
    assert float(torch.stack(shares).sum()) == pytest.approx(float(whole), rel=1e-12)


def test_between_neighbours_only_global_views_of_the_other_are_foretold() -> None:
    student = STUDENT[:2]
    costs = [
        cost(student[v, seen], TAUGHT.assignments[g, wanted], 0.7)
        for i in range(3)
        for seen, wanted in ((i, i + 3), (i + 3, i))
        for g in range(2)
        for v in range(2)
    ]
    found = cluster_neighbours(student, TAUGHT, CONFIG)
    assert float(found) == pytest.approx(sum(costs) / len(costs), rel=1e-12)


def patches() -> tuple[Tensor, TaughtPatches, list[CropPair]]:
    """Scores of 3 global-sized views, and all pairs of crops of the same place."""
    student = random(3, 2, 2, 2, K)
    assignments = random(2, 2, 2, 2, K, seed=1).softmax(dim=-1)
    taught = TaughtPatches(random(2, 2, 2, 2, K), assignments, torch.ones(2, 2, 2, 2) > 0)
    whole = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 2)
    pairs = [
        CropPair(g, v, SharedRegion(whole, whole, torch.full((2, 2, 2), 1 / (4 * 8))))
        for g in range(2)
        for v in range(3)
        if v != g
    ]
    return student, taught, pairs


def test_patches_foretell_those_of_the_same_place() -> None:
    student, taught, pairs = patches()
    assert taught.assignments is not None
    costs = [
        cost(student[pair.student, i, y, x], taught.assignments[pair.teacher, i, y, x], 0.3)
        for pair in pairs
        for i in range(2)
        for y in range(2)
        for x in range(2)
    ]
    found = cluster_patches(student, taught, pairs, CONFIG)
    assert float(found) == pytest.approx(sum(costs) / len(costs), rel=1e-12)
    shares = [
        cluster_patches(student[:2], taught, pairs, CONFIG),
        cluster_patches(student[2:], taught, pairs, CONFIG, first=2),
    ]
    assert float(torch.stack(shares).sum()) == pytest.approx(float(found), rel=1e-12)


def test_without_pairs_it_costs_nothing_and_has_a_gradient() -> None:
    student, taught, _ = patches()
    student.requires_grad_()
    loss = cluster_patches(student, taught, [], CONFIG)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_only_the_student_learns() -> None:
    student = STUDENT.clone().requires_grad_()
    assignments = TAUGHT.assignments.clone().requires_grad_()
    taught = TaughtImages(TAUGHT.scores, assignments)
    loss = cluster_images(student, taught, VIEWS, CONFIG)
    loss = loss + cluster_neighbours(student[:2], taught, CONFIG)
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.any()
    assert assignments.grad is None
