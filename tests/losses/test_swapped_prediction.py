"""What swapped prediction between crops must be, whatever its inputs."""

import math

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.losses.swapped_prediction import swapped_prediction_loss
from patchwise.ops.sinkhorn import sinkhorn

OTHERS = torch.tensor([[0.0, 1, 1, 1], [1, 0, 1, 1]], dtype=torch.float64) / 6


def random_case(seed: int, *, images: int = 3, k: int = 5) -> tuple[Tensor, Tensor]:
    """Scores of four crops, assignments of the first two."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(4, images, k, generator=generator, dtype=torch.float64)
    teacher = torch.randn(2, images, k, generator=generator, dtype=torch.float64)
    return student, teacher.softmax(dim=-1)


def slow_reference(student: Tensor, target: Tensor, pairs: Tensor, t_s: float) -> float:
    """The formula once more, one pair, one image and one prototype at a time."""
    total = 0.0
    for g, v in pairs.nonzero().tolist():
        for scores, wanted in zip(student[v], target[g], strict=True):
            shares = [math.exp(float(s) / t_s) for s in scores]
            cost = -sum(
                float(q) * math.log(share / sum(shares))
                for q, share in zip(wanted, shares, strict=True)
            )
            total += float(pairs[g, v]) * cost / student.shape[1]
    return total


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_formula_in_plain_loops(seed: int) -> None:
    student, target = random_case(seed)
    loss = swapped_prediction_loss(student, target, OTHERS, student_temperature=0.3)
    assert float(loss) == pytest.approx(slow_reference(student, target, OTHERS, 0.3), rel=1e-12)


def test_resolutions_add_up() -> None:
    """Crops of another size go through the student apart from the rest."""
    student, target = random_case(0)
    parts = [
        swapped_prediction_loss(student[some], target, OTHERS[:, some])
        for some in (slice(0, 2), slice(2, 4))
    ]
    whole = swapped_prediction_loss(student, target, OTHERS)
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_between_neighbours_it_is_the_mean_of_both_ways() -> None:
    image, image_target = random_case(0)
    neighbour, neighbour_target = random_case(1)
    both_ways = [
        swapped_prediction_loss(
            student[:2],
            target,
            torch.full((2, 2), 1 / 4, dtype=torch.float64),
            student_temperature=0.2,
        )
        for student, target in ((image, neighbour_target), (neighbour, image_target))
    ]
    across = torch.kron(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.full((2, 2), 1 / 8)).double()
    at_once = swapped_prediction_loss(
        torch.cat([image[:2], neighbour[:2]]),
        torch.cat([image_target, neighbour_target]),
        across,
        student_temperature=0.2,
    )
    torch.testing.assert_close(at_once, torch.stack(both_ways).mean())


def test_a_crop_does_not_predict_itself() -> None:
    student, target = random_case(0)
    target = target[:1].expand(2, -1, -1)
    moved = student.clone()
    moved[1] += torch.randn(5)
    pairs = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]).double() / 4
    torch.testing.assert_close(
        swapped_prediction_loss(moved, target, pairs),
        swapped_prediction_loss(student, target, pairs),
    )


@pytest.mark.parametrize("k", [2, 4096])
def test_equal_scores_cost_log_k(k: int) -> None:
    student = torch.full((4, 2, k), 0.3, requires_grad=True)
    target = sinkhorn(torch.full((4, k), 0.3), temperature=0.07).reshape(2, 2, k)
    loss = swapped_prediction_loss(student, target, OTHERS)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(math.log(k), rel=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_the_right_answer_costs_nothing_and_the_wrong_one_more() -> None:
    right = torch.eye(3).expand(4, 3, 3)
    loss = swapped_prediction_loss(right, right[:2], OTHERS, student_temperature=0.01)
    assert float(loss) < 1e-6
    wrong = right.roll(1, dims=1)
    assert swapped_prediction_loss(wrong, right[:2], OTHERS) > 1


def test_one_image_and_none() -> None:
    for images in (1, 0):
        student, target = random_case(0, images=images)
        loss = swapped_prediction_loss(student.requires_grad_(), target, OTHERS)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert (loss > 0) == (images > 0)


def test_weights_of_zero_cost_nothing_and_give_a_gradient() -> None:
    student, target = random_case(0)
    loss = swapped_prediction_loss(student.requires_grad_(), target, 0 * OTHERS)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_half_precision_is_worked_on_in_float32() -> None:
    student, target = (given.bfloat16() for given in random_case(0))
    wanted = swapped_prediction_loss(student.float(), target.float(), OTHERS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(swapped_prediction_loss(student, target, OTHERS), wanted)
        assert torch.equal(swapped_prediction_loss(student.float(), target, OTHERS), wanted)


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused() -> None:
    student, target = random_case(0)
    with pytest.raises(ShapeError, match=r"target must have shape \(any, 3, 5\), got \(2, 2, 5\)"):
        swapped_prediction_loss(student, target[:, :2], OTHERS)
    with pytest.raises(ShapeError, match=r"pairs must have shape \(2, 4\), got \(2, 3\)"):
        swapped_prediction_loss(student, target, OTHERS[:, :3])
    with pytest.raises(ShapeError, match=r"student must have shape \(any, any, any\)"):
        swapped_prediction_loss(student[0], target, OTHERS)
    with pytest.raises(RangeError, match="student_temperature must be positive, got 0"):
        swapped_prediction_loss(student, target, OTHERS, student_temperature=0.0)
