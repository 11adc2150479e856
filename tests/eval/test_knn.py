"""k-NN against plain loops, and what its votes do not depend on."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.eval.knn import KNN, knn_result, nearest
from patchwise.ops import nearest as search
from tests.eval.test_results import MARK

CLASSES = 4


def features(count: int, seed: int, dim: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) * 3


def classes_of(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, CLASSES, (count,), generator=generator)


def plain_cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def plain_votes(
    knn: KNN, query: Tensor, memory: Tensor, labels: Tensor, *, leave_one_out: bool = False
) -> list[list[float]]:
    """Each query's votes as shares of all its votes."""
    rows = []
    for i, one in enumerate(query.tolist()):
        others = [j for j in range(len(memory)) if not (leave_one_out and i == j)]
        cosine = {j: plain_cosine(one, memory[j].tolist()) for j in others}
        votes = [0.0] * (int(labels.max()) + 1)
        for j in sorted(others, key=lambda j: -cosine[j])[: knn.k]:
            votes[int(labels[j])] += math.exp(cosine[j] / knn.temperature)
        rows.append([vote / sum(votes) for vote in votes])
    return rows


def shares(votes: Tensor) -> Tensor:
    return votes / votes.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (19, 1.0)])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_votes_are_those_of_plain_loops(
    seed: int, k: int, temperature: float, leave_one_out: bool
) -> None:
    memory, labels = features(20, seed), classes_of(20, seed)
    query = memory if leave_one_out else features(11, seed + 100)
    knn = KNN(k=k, temperature=temperature)
    found = knn.classify(query, memory, labels, leave_one_out=leave_one_out)
    expected = plain_votes(knn, query, memory, labels, leave_one_out=leave_one_out)
    torch.testing.assert_close(shares(found), torch.tensor(expected).to(found))


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 19, 20, 21])
def test_chunks_do_not_matter(
    chunk: int, leave_one_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, labels, knn = features(20, 0), classes_of(20, 0), KNN(k=4)
    whole = knn.classify(memory, memory, labels, leave_one_out=leave_one_out)
    for name in ("_QUERIES", "KEYS_AT_ONCE"):
        monkeypatch.setattr(search, name, chunk)
    found = knn.classify(memory, memory, labels, leave_one_out=leave_one_out)
    torch.testing.assert_close(found, whole)


def test_a_query_of_the_memory_finds_itself_unless_it_is_left_out() -> None:
    memory, labels = features(20, 1), torch.arange(20)
    knn = KNN(k=1)
    assert (knn.classify(memory, memory, labels).argmax(1) == labels).all()
    left_out = knn.classify(memory, memory, labels, leave_one_out=True)
    assert (left_out.argmax(1) != labels).all()
    assert (left_out[torch.arange(20), labels] == 0).all()


def test_the_query_is_left_out_even_where_many_are_the_same() -> None:
    memory, labels = torch.ones(30, 4), torch.arange(30)
    votes = KNN(k=3).classify(memory, memory, labels, leave_one_out=True)
    assert (votes[torch.arange(30), labels] == 0).all()
    assert torch.equal(votes.sum(dim=1), torch.full((30,), 3.0))


def test_lengths_of_features_do_not_matter() -> None:
    query, memory, labels, knn = features(9, 2), features(20, 3), classes_of(20, 3), KNN(k=5)
    stretch = torch.rand(20, 1, dtype=torch.float64) + 0.1
    found = knn.classify(query * stretch[:9] * 50, memory * stretch, labels)
    torch.testing.assert_close(found, knn.classify(query, memory, labels))


def test_the_order_of_the_memory_does_not_matter() -> None:
    query, memory, labels, knn = features(9, 2), features(20, 3), classes_of(20, 3), KNN(k=5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    found = knn.classify(query, memory[order], labels[order])
    torch.testing.assert_close(found, knn.classify(query, memory, labels))


def test_equally_near_features_share_the_vote_whatever_their_order() -> None:
    """Ties within the k: both vote alike. At the border of the k only who is asked may change."""
    memory = torch.eye(3).repeat_interleave(2, dim=0)
    votes = KNN(k=2).classify(torch.eye(3), memory, torch.tensor([0, 1, 0, 0, 1, 1]))
    torch.testing.assert_close(shares(votes), torch.tensor([[0.5, 0.5], [1, 0], [0, 1]]))


def test_a_class_without_a_neighbour_has_no_votes() -> None:
    labels = torch.tensor([0] * 10 + [3] * 10)
    votes = KNN(k=5).classify(features(4, 0), features(20, 0), labels)
    assert votes.shape == (4, 4)
    assert (votes[:, 1:3] == 0).all()


@pytest.mark.parametrize("temperature", [1e-4, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_temperatures_are_the_nearest_and_the_count(
    temperature: float, dtype: torch.dtype
) -> None:
    query, memory = features(30, 4).to(dtype), features(40, 5).to(dtype)
    labels = classes_of(40, 5)
    votes = KNN(k=7, temperature=temperature).classify(query, memory, labels)
    assert votes.isfinite().all()
    if temperature < 1:
        first = KNN(k=1).classify(query, memory, labels)
        assert (votes.argmax(1) == first.argmax(1)).all()
    else:
        torch.testing.assert_close(votes.round().sum(1), torch.full((30,), 7).to(dtype))


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_one_search_serves_every_k(leave_one_out: bool) -> None:
    memory, labels = features(30, 8), classes_of(30, 8)
    found = nearest(memory, memory, labels, k=20, leave_one_out=leave_one_out)
    for k, temperature in ((1, 0.07), (5, 0.2), (20, 1.0)):
        knn = KNN(k, temperature)
        alone = knn.classify(memory, memory, labels, leave_one_out=leave_one_out)
        assert torch.equal(knn.vote(found, classes=CLASSES), alone)
    wider = KNN(5).vote(found, classes=CLASSES + 2)
    assert wider.shape == (30, CLASSES + 2)
    assert not wider[:, CLASSES:].any()


def test_neighbours_come_in_order() -> None:
    query, memory, labels = features(4, 9), features(13, 10), torch.arange(13)
    found = nearest(query, memory, labels, k=12)
    assert (found.cosine.diff(dim=1) <= 0).all()
    for row, one in zip(found.labels.tolist(), query.tolist(), strict=True):
        by_hand = [plain_cosine(one, memory[j].tolist()) for j in range(13)]
        assert row == sorted(range(13), key=lambda j: -by_hand[j])[:12]


def test_scores_are_shares_of_right_guesses() -> None:
    votes = torch.eye(7)[[0, 0, 1, 2, 2, 0]] + torch.tensor([0, 0, 0.1, 0.2, 0.3, 0, 0])
    truth = torch.tensor([0, 0, 1, 2, 4, 6])  # wrong: the last two, and class 6 has no votes at all
    result = knn_result(votes, truth, memory=77, fingerprint=MARK)
    assert dataclasses.asdict(result) == {
        "fingerprint": dataclasses.asdict(MARK),
        "accuracy": pytest.approx(4 / 6),
        "top5": pytest.approx(5 / 6),
        "balanced_accuracy": pytest.approx((1 + 1 + 1 + 0 + 0) / 5),
        "num_queries": 6,
        "num_memory": 77,
        "interval": {"low": pytest.approx(1 / 3), "high": 1.0},
        "best_accuracy": None,
        "others": {},
        "selected": None,
    }


def test_all_right_scores_1_and_all_wrong_0() -> None:
    truth = torch.tensor([0, 0, 0, 1])
    for votes, expected in [(torch.eye(2)[truth], 1.0), (torch.eye(2)[1 - truth], 0.0)]:
        result = knn_result(votes, truth, memory=1, fingerprint=MARK)
        assert (result.accuracy, result.balanced_accuracy) == (expected, expected)


def test_features_in_clusters_are_classified_without_error() -> None:
    labels = torch.arange(80) % CLASSES
    memory = torch.eye(CLASSES, 6, dtype=torch.float64)[labels] * 20 + features(80, 6)
    votes = KNN().classify(memory, memory, labels, leave_one_out=True)
    assert knn_result(votes, labels, memory=80, fingerprint=MARK).accuracy == 1.0


def test_nothing_is_trained_and_nothing_changed() -> None:
    memory = features(20, 7).requires_grad_()
    before = memory.detach().clone()
    votes = KNN(k=3).classify(memory, memory, classes_of(20, 7), leave_one_out=True)
    assert not votes.requires_grad
    assert torch.equal(memory.detach(), before)


@pytest.mark.bad_input
@pytest.mark.parametrize(("name", "value"), [("k", 0), ("temperature", 0.0), ("temperature", -1)])
def test_settings_must_be_positive(name: str, value: Any) -> None:
    with pytest.raises(RangeError, match=rf"^KNN: {name} must be positive, got {value}$"):
        dataclasses.replace(KNN(), **{name: value})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("query", "memory"), [((4, 5), (30, 6)), ((6,), (30, 6)), ((4, 6), (3, 10, 6))]
)
def test_features_of_different_kinds_are_refused(
    query: tuple[int, ...], memory: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError) as caught:
        KNN().classify(torch.zeros(query), torch.zeros(memory), classes_of(memory[0], 0))
    assert str(caught.value) == (
        f"KNN.classify: query and memory must be features of one length, got {query} and {memory}"
    )


@pytest.mark.bad_input
@pytest.mark.parametrize("shape", [(29,), (31,), (30, 1)])
def test_there_must_be_one_label_a_feature(shape: tuple[int, ...]) -> None:
    labels = torch.zeros(shape, dtype=torch.int64)
    with pytest.raises(ShapeError) as caught:
        KNN().classify(features(4, 0), features(30, 0), labels)
    assert str(caught.value) == f"KNN.classify: labels must have shape (30,), got {shape}"


@pytest.mark.bad_input
@pytest.mark.parametrize("count", [0, 19, 20])
def test_a_memory_of_no_more_than_k_is_refused(count: int) -> None:
    with pytest.raises(RangeError) as caught:
        KNN(k=20).classify(features(4, 0), features(count, 0), classes_of(count, 0))
    assert str(caught.value) == (
        f"KNN.classify: memory must hold more than k=20 features, got {count}"
    )
