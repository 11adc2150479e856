"""Scores of classes against scikit-learn, and what counts as a guess."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score

from patchwise.eval.classification import accuracy, classification_result
from tests.eval.test_results import MARK

DRAW = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("classes", [3, 9])
def test_scores_are_those_of_scikit_learn(classes: int) -> None:
    scores = torch.randn(60, classes, generator=DRAW) - 2  # negative ones are guesses too
    truth = torch.randint(classes, (60,), generator=DRAW)
    result = classification_result(scores, truth, memory=5, fingerprint=MARK)
    guess = scores.argmax(dim=1)
    assert result.accuracy == pytest.approx(accuracy_score(truth, guess))
    assert accuracy(scores, truth) == result.accuracy
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, guess))
    if classes > 5:
        expected = top_k_accuracy_score(truth, scores, k=5, labels=range(classes))
        assert result.top5 == pytest.approx(expected)
    else:
        assert result.top5 == 1
    assert (result.num_queries, result.num_memory) == (60, 5)
    assert result.interval is not None
    assert result.interval.low < result.accuracy < result.interval.high


def test_a_class_without_a_score_is_no_guess() -> None:
    scores = torch.full((2, 3), -torch.inf)
    scores[0, 1] = -7.0
    result = classification_result(scores, torch.tensor([1, 0]), memory=1, fingerprint=MARK)
    assert result.accuracy == result.top5 == accuracy(scores, torch.tensor([1, 0])) == 0.5


def test_the_interval_is_over_images() -> None:
    scores, truth = torch.eye(2)[[0, 0, 1, 1]], torch.tensor([0, 0, 0, 0])
    same = classification_result(
        scores, truth, memory=1, fingerprint=MARK, image=torch.tensor([0, 1, 0, 1])
    )
    assert same.interval is not None
    assert same.interval.low == same.interval.high == 0.5  # each image has one right of two
