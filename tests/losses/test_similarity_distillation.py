"""What the three losses over lists of similarities must be."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.losses.similarity_distillation import (
    SimilarityCrossEntropyLoss,
    SimilarityInfoNCELoss,
    SimilarityMSELoss,
    similarity_cross_entropy_loss,
    similarity_info_nce_loss,
    similarity_mse_loss,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "similarity_mse_loss": similarity_mse_loss,
    "similarity_cross_entropy_loss": similarity_cross_entropy_loss,
    "similarity_info_nce_loss": similarity_info_nce_loss,
}


@pytest.fixture(params=sorted(LOSSES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def draw(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    prediction, target = torch.rand(2, count, generator=g, dtype=torch.float64) * 2 - 1
    return prediction, target, torch.rand(count, generator=g) < 0.4


def triples(inputs: tuple[Tensor, Tensor, Tensor]) -> list[tuple[float, float, bool]]:
    return list(zip(*(values.tolist() for values in inputs), strict=True))


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_mse_is_its_formula(weight: float) -> None:
    inputs = draw(30)
    weights = [1.0 if m else weight for _, _, m in triples(inputs)]
    squares = [(p - t) ** 2 for p, t, _ in triples(inputs)]
    expected = sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights)
    loss = similarity_mse_loss(*inputs, nonmatch_weight=weight)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_cross_entropy_is_its_formula(weight: float) -> None:
    inputs = draw(30)
    mass = [math.exp(t / 0.3) * (1.0 if m else weight) for _, t, m in triples(inputs)]
    guess = [math.exp(p / 0.2) for p, _, _ in triples(inputs)]
    shares = zip(mass, guess, strict=True)
    expected = -sum(q / sum(mass) * math.log(r / sum(guess)) for q, r in shares)
    loss = similarity_cross_entropy_loss(
        *inputs, student_temperature=0.2, teacher_temperature=0.3, nonmatch_weight=weight
    )
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("threshold", [-0.3, 0.2])
def test_info_nce_is_its_formula(threshold: float) -> None:
    inputs = draw(30)
    positive = [p for p, t, m in triples(inputs) if m and t > threshold]
    negative = [p for p, t, m in triples(inputs) if not (m and t > threshold)]
    others = sum(math.exp(p / 0.2) for p in negative)
    shares = [math.exp(p / 0.2) / (math.exp(p / 0.2) + others) for p in positive]
    expected = sum(-math.log(share) for share in shares) / len(positive)
    loss = similarity_info_nce_loss(*inputs, temperature=0.2, threshold=threshold)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_a_pair_without_weight_does_not_count_however_similar() -> None:
    """Beside it the others' shares are smaller than any number."""
    target, match = torch.tensor([60.0, 0.0, 1.0]), torch.tensor([False, True, True])
    prediction = torch.tensor([0.0, 0.0, 1.0])
    loss = similarity_cross_entropy_loss(prediction, target, match, nonmatch_weight=0.0)
    assert float(loss) == pytest.approx(math.log1p(2 * math.exp(-10)), rel=1e-5)


def test_the_student_that_agrees_is_the_best() -> None:
    _, target, match = draw(40)
    assert float(similarity_mse_loss(target, target, match)) == 0
    options = {"student_temperature": 0.3, "teacher_temperature": 0.3, "nonmatch_weight": 1.0}
    agreeing = target.clone().requires_grad_()
    similarity_cross_entropy_loss(agreeing, target, match, **options).backward()  # type: ignore[no-untyped-call]
    assert agreeing.grad is not None
    assert float(agreeing.grad.abs().max()) < 1e-15


def test_equal_predictions_cost_what_the_docstrings_say() -> None:
    _, target, match = draw(40)
    same = torch.full_like(target, 0.7)
    cross_entropy = similarity_cross_entropy_loss(same, target, match)
    assert float(cross_entropy) == pytest.approx(math.log(40))
    negatives = 40 - int((match & (target > 0.2)).sum())
    info_nce = similarity_info_nce_loss(same, target, match)
    assert float(info_nce) == pytest.approx(math.log(1 + negatives))


def test_a_target_at_the_threshold_is_negative() -> None:
    target = torch.tensor([0.5, 0.1])
    assert similarity_info_nce_loss(target, target, target > 0, threshold=0.5) == 0
    assert similarity_info_nce_loss(target, target, target > 0, threshold=0.49) > 0


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("matching", [True, False])
def test_what_cannot_be_compared_costs_nothing(name: str, count: int, matching: bool) -> None:
    """No pair, no weight, no positive, or no negative: 0, and a gradient of 0."""
    prediction = torch.full((count,), 0.9, requires_grad=True)
    target, match = torch.full((count,), 0.9), torch.full((count,), matching)
    loss = LOSSES[name](prediction, target, match)
    loss.backward()  # type: ignore[no-untyped-call]
    if name == "similarity_cross_entropy_loss":
        assert float(loss.detach()) == pytest.approx(math.log(max(count, 1)))
    else:
        assert loss == 0
    assert prediction.grad is not None
    torch.testing.assert_close(prediction.grad, torch.zeros(count), rtol=0, atol=1e-6)


def test_without_any_weight_it_is_zero() -> None:
    prediction, target, match = draw(10)
    nobody = match & False
    for loss in (similarity_mse_loss, similarity_cross_entropy_loss):
        assert float(loss(prediction, target, nobody, nonmatch_weight=0.0)) == 0


def test_extreme_similarities_stay_finite(name: str) -> None:
    prediction = (torch.tensor([300.0, -300.0, 0.0, 5.0])).requires_grad_()
    target, match = torch.tensor([-300.0, 300.0, 1.0, 0.0]), torch.tensor([1, 1, 0, 1])
    loss = LOSSES[name](prediction, target, match)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


def test_shapes_and_kinds_of_match_do_not_matter(name: str) -> None:
    inputs = draw(60)
    loss = LOSSES[name](*inputs)
    assert LOSSES[name](*(values.view(3, 4, 5) for values in inputs)).equal(loss)
    assert LOSSES[name](inputs[0], inputs[1], inputs[2].to(torch.uint8)).equal(loss)


@pytest.mark.bad_input
def test_wrong_lists_are_refused(name: str) -> None:
    prediction, target, match = draw(9)
    with pytest.raises(ShapeError, match=rf"^{name}: .* must have the same shape, got .*\(8,\)"):
        LOSSES[name](prediction, target, match[:8])
    with pytest.raises(RangeError, match=rf"^{name}: match must hold only 0 and 1, got -1"):
        LOSSES[name](prediction, target, match.long() - 1)
    with pytest.raises(RangeError, match=rf"^{name}: target must be finite, got nan"):
        LOSSES[name](prediction, target / 0 * 0, match)


@pytest.mark.bad_input
def test_wrong_options_are_refused() -> None:
    inputs = draw(9)
    options: dict[str, Any]
    weight = r"nonmatch_weight must lie in \[0.0, 1.0\], got 2.0"
    with pytest.raises(RangeError, match=f"^similarity_mse_loss: {weight}"):
        similarity_mse_loss(*inputs, nonmatch_weight=2.0)
    with pytest.raises(RangeError, match=f"^SimilarityMSELoss: {weight}"):
        SimilarityMSELoss(nonmatch_weight=2.0)
    with pytest.raises(RangeError, match=f"^similarity_cross_entropy_loss: {weight}"):
        similarity_cross_entropy_loss(*inputs, nonmatch_weight=2.0)
    with pytest.raises(RangeError, match=f"^SimilarityCrossEntropyLoss: {weight}"):
        SimilarityCrossEntropyLoss(nonmatch_weight=2.0)
    for key in ("student_temperature", "teacher_temperature"):
        options, message = {key: 0.0}, f"{key} must be positive, got 0.0"
        with pytest.raises(RangeError, match=f"^similarity_cross_entropy_loss: {message}"):
            similarity_cross_entropy_loss(*inputs, **options)
        with pytest.raises(RangeError, match=f"^SimilarityCrossEntropyLoss: {message}"):
            SimilarityCrossEntropyLoss(**options)
    for key, value in [("temperature", -1.0), ("threshold", math.inf)]:
        options = {key: value}
        message = f"{key} must be (positive|finite), got {value}"
        with pytest.raises(RangeError, match=f"^similarity_info_nce_loss: {message}"):
            similarity_info_nce_loss(*inputs, **options)
        with pytest.raises(RangeError, match=f"^SimilarityInfoNCELoss: {message}"):
            SimilarityInfoNCELoss(**options)
