"""The ranking loss: the published vectors, the formula in plain loops, and its properties."""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.plain_ranking import plain_cotap_loss
from torch import Tensor

from patchwise.configs.cotap import Surrogate
from patchwise.errors import ChoiceError, PatchwiseError, RangeError, ShapeError
from patchwise.losses.cotap import CoTAPLoss, cotap_loss, rank_sums

FIXTURE = Path(__file__).parents[1] / "fixtures" / "cotap.npz"
SURROGATES: list[Surrogate] = ["huber", "hinge"]


def draw(
    count: int, seed: int = 0, *, step: float = 0.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarities of which student and teacher agree by half; on a grid of ``step`` if wanted."""
    g = torch.Generator().manual_seed(seed)
    target, noise = torch.rand(2, count, generator=g, dtype=torch.float64) * 2 - 1
    prediction = (target + noise) / 2
    if step:
        target, prediction = (target / step).round() * step, (prediction / step).round() * step
    match = torch.rand(count, generator=g) < 0.3
    return prediction.to(dtype), target.to(dtype), match


def slow_phi(x: float, tau: float, surrogate: Surrogate) -> float:
    if x >= tau:
        return 0.0
    if surrogate == "hinge":
        return (tau - x) / tau
    return (x / tau - 1) ** 2 if x >= 0 else 1 - 2 * x / tau


def slow_sums(
    prediction: Tensor, target: Tensor, tau: float, surrogate: Surrogate
) -> tuple[list[float], list[int]]:
    """N and P, one pair after the other."""
    pairs = list(zip(prediction.tolist(), target.tolist(), strict=True))
    n = [sum(max(t - u, 0.0) * slow_phi(p - q, tau, surrogate) for q, u in pairs) for p, t in pairs]
    return n, [sum(u >= t and q >= p for q, u in pairs) for p, t in pairs]


def slow_loss(
    prediction: Tensor, target: Tensor, match: Tensor, *, threshold: float, nonmatch_weight: float
) -> float:
    n, p = slow_sums(prediction, target, 0.5, "huber")
    total, weights = 0.0, 1e-5
    for n_i, p_i, t, matching in zip(n, p, target.tolist(), match.tolist(), strict=True):
        weight = max(t - threshold, 0.0) * (1.0 if matching else nonmatch_weight)
        error = n_i / (p_i + 1e-5)
        total, weights = total + weight * error / (1 + error), weights + weight
    return total / weights


@pytest.mark.parametrize("case", ["huber_64", "huber_1000", "huber_ties", "hinge_64", "hinge_1000"])
def test_it_equals_the_published_systems_value_and_gradient(case: str) -> None:
    with np.load(FIXTURE) as file:
        names = ["pred", "target", "match", "loss", "grad", "pn", "pp"]
        data = {name: torch.from_numpy(file[f"rank_{case}_{name}"]) for name in names}
    surrogate: Surrogate = "hinge" if case.startswith("hinge") else "huber"
    prediction, target = data["pred"].double().requires_grad_(), data["target"].double()
    loss = cotap_loss(prediction, target, data["match"], surrogate=surrogate)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss.detach(), data["loss"], rtol=1e-12, atol=0)
    torch.testing.assert_close(prediction.grad, data["grad"], rtol=1e-9, atol=0)
    misranked, agreed = rank_sums(prediction.detach(), target, surrogate=surrogate)
    torch.testing.assert_close(misranked, data["pn"], rtol=1e-12, atol=1e-12)
    assert agreed.double().equal(data["pp"])


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("tau", [0.07, 0.5, 3.0])
@pytest.mark.parametrize("step", [0.0, 0.25])
def test_its_sums_are_the_definition(surrogate: Surrogate, tau: float, step: float) -> None:
    prediction, target, _ = draw(90, step=step)
    misranked, agreed = rank_sums(prediction, target, tau=tau, surrogate=surrogate)
    n, p = slow_sums(prediction, target, tau, surrogate)
    assert misranked.tolist() == pytest.approx(n, rel=1e-12, abs=1e-12)
    assert agreed.tolist() == p


@pytest.mark.parametrize(("threshold", "nonmatch_weight"), [(-0.2, 0.1), (0.3, 1.0), (-2.0, 0.0)])
def test_its_weights_are_the_definition(threshold: float, nonmatch_weight: float) -> None:
    prediction, target, match = draw(90)
    loss = cotap_loss(
        prediction, target, match, threshold=threshold, nonmatch_weight=nonmatch_weight
    )
    expected = slow_loss(
        prediction, target, match, threshold=threshold, nonmatch_weight=nonmatch_weight
    )
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("step", [0.0, 0.25])
def test_value_and_gradient_are_those_of_all_pairs(
    surrogate: Surrogate, tau: float, step: float
) -> None:
    prediction, target, match = draw(500, seed=1, step=step)
    slow = prediction.clone().requires_grad_()
    expected = plain_cotap_loss(slow, target, match, tau=tau, surrogate=surrogate)
    expected.backward()  # type: ignore[no-untyped-call]
    loss = cotap_loss(prediction.requires_grad_(), target, match, tau=tau, surrogate=surrogate)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(prediction.grad, slow.grad, rtol=1e-9, atol=1e-13)


def test_many_pairs() -> None:
    """Of some in a list that a matrix of all pairs would need 12 GiB for."""
    prediction, target, match = draw(40_000)
    misranked, agreed = rank_sums(prediction, target)
    for i in range(5, 40_000, 9_000):
        x, gap = prediction[i] - prediction, target[i] - target
        phi = torch.where(x < 0, 1 - 4 * x, (1 - 2 * x).clamp(min=0) ** 2)
        assert float(misranked[i]) == pytest.approx(float((gap.clamp(min=0) * phi).sum()), 1e-12)
        assert int(agreed[i]) == int(((gap <= 0) & (x <= 0)).sum())
    loss = cotap_loss(prediction.requires_grad_(), target, match)
    loss.backward()  # type: ignore[no-untyped-call]
    assert prediction.grad is not None
    assert float(prediction.grad.sum()) == pytest.approx(0, abs=1e-12)  # moved together: no change


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_wide_enough_right_order_costs_nothing(surrogate: Surrogate) -> None:
    """To the last bit, for which sums of terms that cancel would not do."""
    order = torch.arange(300, dtype=torch.float64)
    target, prediction = order / 7, (order * 0.5 + 1e5).requires_grad_()
    loss = cotap_loss(prediction, target, target >= 0, surrogate=surrogate)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert prediction.grad is not None
    assert not prediction.grad.any()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_no_sum_is_negative_where_sizes_differ(scale: float) -> None:
    prediction, target, _ = draw(1000, seed=2)
    prediction = torch.where(torch.arange(1000) % 9 == 0, scale, 1.0) * prediction
    misranked, _ = rank_sums(prediction, target)
    n, _ = slow_sums(prediction, target, 0.5, "huber")
    assert (misranked >= 0).all()
    assert misranked.tolist() == pytest.approx(n, rel=1e-9, abs=1e-12)


def test_equal_targets_cost_nothing_and_equal_predictions_do_not_break_it() -> None:
    prediction, target, match = draw(50)
    assert float(cotap_loss(prediction, torch.full_like(target, 0.3), match)) == 0
    same = torch.zeros(2, dtype=torch.float64).requires_grad_()
    loss = cotap_loss(same, torch.tensor([1.0, 0.0]).double(), torch.tensor([True, True]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(3 / 7, abs=1e-5)
    assert same.grad is not None
    assert same.grad[0] < 0 < same.grad[1]


@pytest.mark.parametrize("count", [0, 1])
def test_no_pair_and_one_pair_cost_nothing(count: int) -> None:
    prediction = torch.ones(count, requires_grad=True)
    loss = cotap_loss(prediction, torch.ones(count), torch.ones(count, dtype=torch.int8))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [0.0] * count


def test_without_weight_it_is_zero() -> None:
    prediction, target, match = draw(20)
    assert float(cotap_loss(prediction, target - 2, match)) == 0
    assert float(cotap_loss(prediction, target, match & False, nonmatch_weight=0.0)) == 0


def test_shapes_and_kinds_of_match_do_not_matter() -> None:
    prediction, target, match = draw(60)
    loss = cotap_loss(prediction, target, match)
    cube = [values.view(3, 4, 5) for values in (prediction, target, match)]
    assert cotap_loss(*cube).equal(loss)
    for kind in (torch.int8, torch.uint8, torch.int64):
        assert cotap_loss(prediction, target, match.to(kind)).equal(loss)
    with torch.no_grad():
        assert cotap_loss(prediction.requires_grad_(), target, match).equal(loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_gradient_has_the_predictions_type(dtype: torch.dtype) -> None:
    prediction, target, match = draw(80, step=1 / 16, dtype=dtype)
    loss = cotap_loss(prediction.requires_grad_(), target, match)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert prediction.grad is not None
    assert prediction.grad.dtype == dtype
    exact = cotap_loss(*draw(80, step=1 / 16))  # the grid is the same in every type
    assert float(loss.detach()) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same() -> None:
    found = []
    for device in ("cpu", "cuda"):
        prediction, target, match = (values.to(device) for values in draw(50_000))
        loss = cotap_loss(prediction.requires_grad_(), target, match)
        loss.backward()  # type: ignore[no-untyped-call]
        assert prediction.grad is not None
        found.append((loss.detach().cpu(), prediction.grad.cpu()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-15)


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_finite_is_refused(value: float, which: int) -> None:
    inputs = draw(9)
    inputs[which][4] = value
    name = ["prediction", "target"][which]
    with pytest.raises(RangeError, match=rf"^cotap_loss: {name} must be finite, got {value}"):
        cotap_loss(*inputs)


@pytest.mark.bad_input
def test_a_match_that_is_no_yes_or_no_is_refused() -> None:
    prediction, target, match = draw(9)
    with pytest.raises(RangeError, match=r"^cotap_loss: match must hold only 0 and 1, got 2"):
        cotap_loss(prediction, target, match.long() + 1)
    with pytest.raises(ShapeError, match=r"^cotap_loss: prediction and target and match must"):
        cotap_loss(prediction, target, match[:8])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tau": 0.0}, RangeError, "tau must be positive, got 0.0"),
        ({"threshold": float("nan")}, RangeError, "threshold must be finite, got nan"),
        ({"nonmatch_weight": -0.1}, RangeError, r"nonmatch_weight must lie in \[0.0, 1.0\]"),
        ({"nonmatch_weight": 1.1}, RangeError, r"nonmatch_weight must lie in \[0.0, 1.0\]"),
        ({"surrogate": "hubert"}, ChoiceError, "surrogate must be one of .*did you mean 'huber'"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, float], error: type[PatchwiseError], message: str
) -> None:
    with pytest.raises(error, match=f"^cotap_loss: {message}"):
        cotap_loss(*draw(9), **options)  # type: ignore[arg-type]
    with pytest.raises(error, match=f"^CoTAPLoss: {message}"):
        CoTAPLoss(**options)  # type: ignore[arg-type]


@pytest.mark.bad_input
def test_sums_refuse_a_wrong_tau() -> None:
    with pytest.raises(RangeError, match=r"^rank_sums: tau must be positive, got -1"):
        rank_sums(*draw(9)[:2], tau=-1.0)
