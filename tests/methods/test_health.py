"""Health values of answers and weights in cases that can be worked out by hand."""

import math

import pytest
import torch
from torch import nn

from patchwise.losses.matched_distillation import TokenPairs
from patchwise.methods.health import (
    Answers,
    answer_health,
    distance_frac,
    feature_health,
    loss_frac,
)
from tests.losses.by_scores import distil

K = 8


def answers(scores: torch.Tensor) -> Answers:
    return Answers(scores, torch.eye(K), 0.1)


def pairs_of(count: int) -> TokenPairs:
    rows = torch.arange(count)
    return TokenPairs(rows, rows, torch.full((count,), 1 / count))


def health_of(teacher: torch.Tensor, student: torch.Tensor | None = None) -> dict[str, float]:
    guess = teacher if student is None else student
    found = answer_health(answers(teacher), answers(guess), pairs_of(len(teacher)))
    return {name: float(value) for name, value in found.items()}


def test_one_sure_answer_for_all() -> None:
    found = health_of(100 * torch.eye(K)[[2] * 6])
    assert found["teacher_entropy"] == pytest.approx(0, abs=1e-6)
    assert found["prototype_use"] == pytest.approx(1 / K)
    assert found["prototype_fill"] == pytest.approx(1 / 6)
    assert found["agreement"] == 1
    assert found["centre_offset"] == pytest.approx(100 * (1 - 1 / K) / 0.1)


def test_a_sure_answer_of_its_own_for_each() -> None:
    found = health_of(100 * torch.eye(K)[:4])
    assert found["prototype_use"] == pytest.approx(4 / K)
    assert found["prototype_fill"] == pytest.approx(1)


def test_equal_scores() -> None:
    found = health_of(torch.zeros(5, K))
    assert found["teacher_entropy"] == found["student_entropy"] == pytest.approx(1)
    assert found["prototype_use"] == found["prototype_fill"] == pytest.approx(1)
    assert found["centre_offset"] == 0


def test_agreement_is_over_pairs_not_rows() -> None:
    teacher, student = torch.eye(K)[:2], torch.eye(K)[[0, 0, 5]]
    pairs = TokenPairs(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), torch.ones(3) / 3)
    found = answer_health(answers(teacher), answers(student), pairs)
    assert float(found["agreement"]) == pytest.approx(2 / 3)


def test_rows_that_no_pair_names_do_not_count() -> None:
    scores = torch.randn(6, K, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([scores, 50 * torch.eye(K)[[1] * 30]])
    pairs = pairs_of(6)
    alone = answer_health(answers(scores), answers(scores), pairs)
    filled = answer_health(answers(padded), answers(padded), pairs)
    for name, value in alone.items():
        assert float(filled[name]) == pytest.approx(float(value)), name


def test_many_rows_are_thinned_out_evenly() -> None:
    scores = 100 * torch.eye(K)[torch.arange(5000) * K // 5000]
    assert health_of(scores)["prototype_use"] == pytest.approx(1, abs=0.01)


def test_features_fill_their_space_or_not() -> None:
    images = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    patches = torch.randn(8, 9, 16, generator=torch.Generator().manual_seed(1))
    found = feature_health(images, patches)
    assert found["patch_rank"] > 0.85
    assert found["image_rank"] > 0.85  # of 8: there are no more images
    alike = feature_health(images[:1].expand(8, 16), patches[:1].expand(8, 9, 16))
    assert float(alike["image_rank"]) == pytest.approx(1 / 8, abs=1e-3)
    assert float(alike["position_bias"]) == pytest.approx(1)


def test_the_distance_is_relative_to_the_teacher() -> None:
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    for one, other in zip(teacher.parameters(), student.parameters(), strict=True):
        other.data.copy_(1.25 * one.data)
    assert float(distance_frac(teacher.parameters(), student.parameters())) == pytest.approx(0.25)
    assert float(distance_frac(teacher.parameters(), teacher.parameters())) == 0


def test_a_student_that_says_nothing_has_loss_one() -> None:
    teacher = torch.randn(5, K, generator=torch.Generator().manual_seed(0))
    loss = distil(torch.zeros(5, K), teacher, pairs_of(5))
    assert float(loss_frac(loss, K)) == pytest.approx(1)
    assert float(loss_frac(torch.tensor(math.log(K) / 2), K)) == pytest.approx(0.5)
