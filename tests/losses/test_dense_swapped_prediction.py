"""What swapped prediction between patches must be, whatever its inputs."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError, ShapeError
from patchwise.losses.dense_swapped_prediction import (
    SharedRegion,
    cell_weights,
    dense_swapped_prediction_loss,
)
from patchwise.models.fifo import FIFO
from patchwise.ops.foreground import foreground_cells, foreground_mask
from patchwise.ops.overlap import overlap_boxes
from patchwise.ops.roi_align import roi_align
from patchwise.ops.sinkhorn import sinkhorn


def random_case(
    seed: int, *, images: int = 3, k: int = 5, size: tuple[int, int] = (6, 6)
) -> tuple[Tensor, Tensor, SharedRegion]:
    """Scores of 4 x 5 patches, assignments of 7 x 6, and regions with some weights of 0."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(images, 4, 5, k, generator=generator, dtype=torch.float64)
    teacher = torch.randn(images, 7, 6, k, generator=generator, dtype=torch.float64)
    weight = torch.rand(images, *size, generator=generator, dtype=torch.float64)
    region = SharedRegion(
        teacher=torch.tensor([[1.3, 0.0, 5.0, 4.2]], dtype=torch.float64).expand(images, 4),
        student=torch.tensor([[0.0, 0.7, 4.0, 3.1]], dtype=torch.float64).expand(images, 4),
        weight=weight * (weight > 0.4),
    )
    return student, teacher.softmax(dim=-1), region


def slow_reference(student: Tensor, target: Tensor, region: SharedRegion, t_s: float) -> float:
    """The formula once more, one cell and one prototype at a time."""
    size = (region.weight.shape[1], region.weight.shape[2])
    predicted = roi_align(student, region.student, size).flatten(0, 2)
    wanted = roi_align(target, region.teacher, size).flatten(0, 2)
    total = 0.0
    for scores, q, weight in zip(predicted, wanted, region.weight.flatten(), strict=True):
        shares = [math.exp(float(s) / t_s) for s in scores]
        total -= float(weight) * sum(
            float(x) * math.log(share / sum(shares)) for x, share in zip(q, shares, strict=True)
        )
    return total


def with_weight(region: SharedRegion, weight: Tensor) -> SharedRegion:
    return dataclasses.replace(region, weight=weight)


@pytest.mark.parametrize("size", [(6, 6), (2, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_formula_in_plain_loops(seed: int, size: tuple[int, int]) -> None:
    student, target, region = random_case(seed, size=size)
    loss = dense_swapped_prediction_loss(student, target, region, student_temperature=0.3)
    wanted = slow_reference(student, target, region, 0.3)
    assert float(loss) == pytest.approx(wanted, rel=1e-12)


def test_crops_that_see_an_image_alike_cost_the_least() -> None:
    """Each place has scores of its own: only what is aligned predicts what is there."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 24, 24, 8, generator=generator).repeat_interleave(3, 1)
    image = image.repeat_interleave(3, 2)  # 72 x 72 patches, blocks of 3 x 3 alike
    crops = torch.tensor([[3, 6, 48, 48]]), torch.tensor([[15, 0, 54, 54]])
    maps = [image[:, y : y + h, x : x + w] for y, x, h, w in (box[0].tolist() for box in crops)]
    sides = [tuple(shown.shape[1:3]) for shown in maps]
    teacher, student = overlap_boxes(
        *crops, size_a=(sides[0][0], sides[0][1]), size_b=(sides[1][0], sides[1][1])
    )
    region = SharedRegion(teacher, student, torch.full((1, 6, 6), 1 / 36))
    target = (maps[0] / 0.1).softmax(dim=-1)

    def loss(shift: float) -> float:
        moved = student + torch.tensor([[shift, 0.0, 0.0, 0.0]])
        shifted = dataclasses.replace(region, student=moved)
        return float(dense_swapped_prediction_loss(maps[1], target, shifted))

    assert loss(0) < min(loss(-6), loss(6))
    swapped = SharedRegion(student, teacher, region.weight)
    assert loss(0) < float(dense_swapped_prediction_loss(maps[1], target, swapped))


def test_equal_scores_cost_log_k_and_give_no_gradient() -> None:
    student = torch.full((2, 6, 6, 512), 0.3, requires_grad=True)
    target = sinkhorn(torch.full((2 * 49, 512), 0.3), temperature=0.05).reshape(2, 7, 7, 512)
    boxes = torch.tensor([[0.5, 0.0, 4.0, 5.0]]).expand(2, 4)
    region = SharedRegion(boxes, boxes, torch.full((2, 6, 6), 1 / 72))
    loss = dense_swapped_prediction_loss(student, target, region)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(math.log(512), rel=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_cells_without_weight_do_not_matter() -> None:
    """What they alone read from may change."""
    student, target, region = random_case(0)
    weight = torch.zeros_like(region.weight)
    weight[:, :3] = 1.0  # the upper half
    other_student, other_target = student.clone(), target.clone()
    other_student[:, 3:] += torch.randn(5)
    other_target[:, 6:] = 0.5
    region = with_weight(region, weight)
    torch.testing.assert_close(
        dense_swapped_prediction_loss(other_student, other_target, region),
        dense_swapped_prediction_loss(student, target, region),
    )


def test_an_empty_mask_costs_nothing_and_gives_a_gradient() -> None:
    student, target, region = random_case(0)
    cells = foreground_cells(torch.zeros(3, 7, 6, dtype=torch.bool), region.teacher, (6, 6))
    (weight,) = cell_weights([cells])
    loss = dense_swapped_prediction_loss(
        student.requires_grad_(), target, with_weight(region, weight)
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_an_empty_queue_costs_nothing_as_its_weights_are_zero() -> None:
    """As CoTAP asks: the loss waits until there are earlier scores."""
    student, target, region = random_case(0)
    queue = FIFO(50, (5,))
    found = []
    for _ in range(2):
        weight = region.weight * (queue.count > 0)
        assigned = sinkhorn(target.flatten(0, 2), queue.items().double(), temperature=0.05)
        found.append(
            dense_swapped_prediction_loss(
                student, assigned.reshape(target.shape), with_weight(region, weight)
            )
        )
        queue.push(target.flatten(0, 2)[:9])
    assert float(found[0]) == 0
    assert float(found[1]) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_from_attention_and_boxes_to_a_gradient(dtype: torch.dtype) -> None:
    """The whole way, for one image: two global crops and a local one, all parts finite."""
    generator = torch.Generator().manual_seed(0)
    crops = [torch.tensor([box]) for box in ([0, 0, 80, 80], [10, 20, 75, 80], [30, 30, 30, 30])]
    sides = [14, 14, 6]
    student = [
        torch.randn(1, s, s, 16, generator=generator).to(dtype).requires_grad_() for s in sides
    ]
    attention = torch.rand(2, 3, 196, generator=generator).to(dtype) ** 3
    foreground = foreground_mask(attention, (14, 14)).reshape(2, 1, 14, 14)
    scores = torch.randn(2 * 196, 16, generator=generator).to(dtype)
    target = sinkhorn(scores, scores[:0], temperature=0.05).reshape(2, 1, 14, 14, 16)
    pairs = [(g, v) for g in range(2) for v in range(3) if v != g]
    boxes = [
        overlap_boxes(crops[g], crops[v], size_a=(14, 14), size_b=(sides[v], sides[v]))
        for g, v in pairs
    ]
    cells = [
        foreground_cells(foreground[g], teacher, (6, 6))
        for (g, _), (teacher, _) in zip(pairs, boxes, strict=True)
    ]
    assert any(some.any() for some in cells)
    losses = [
        dense_swapped_prediction_loss(student[v], target[g], SharedRegion(*place, weight))
        for (g, v), place, weight in zip(pairs, boxes, cell_weights(cells), strict=True)
    ]
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    for scores_of_crop in student:
        assert scores_of_crop.grad is not None
        assert scores_of_crop.grad.isfinite().all()


def test_half_precision_is_worked_on_in_float32() -> None:
    student, target, region = random_case(0)
    student, target = student.bfloat16(), target.bfloat16()
    wanted = dense_swapped_prediction_loss(student.float(), target.float(), region)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(dense_swapped_prediction_loss(student, target, region), wanted)
        assert torch.equal(dense_swapped_prediction_loss(student.float(), target, region), wanted)


def test_weights_are_a_mean_over_pairs_of_means_over_cells() -> None:
    cells = [torch.rand(4, 6, 6) < share for share in (0.3, 0.9, 0.0)]
    weights = cell_weights(cells)
    costs = [torch.rand(4, 6, 6, dtype=torch.float64) for _ in cells]
    found = sum(float((w * cost).sum()) for w, cost in zip(weights, costs, strict=True))
    wanted = sum(float(costs[i][cells[i]].mean()) for i in (0, 1)) / 3
    assert found == pytest.approx(wanted)
    assert not weights[2].any()


def test_no_pairs_have_no_weights() -> None:
    assert cell_weights([]) == []


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused() -> None:
    student, target, region = random_case(0)

    def fails(match: str, *, student: Tensor = student, target: Tensor = target) -> None:
        with pytest.raises(ShapeError, match=f"^dense_swapped_prediction_loss: {match}"):
            dense_swapped_prediction_loss(student, target, region)

    fails(r"student must have shape \(any, any, any, any\)", student=student[0])
    fails(r"target must have shape \(3, any, any, 5\), got \(2, 7", target=target[:2])
    fails(r"target must have shape \(3, any, any, 5\), got \(3, 7, 6, 4", target=target[..., :4])
    region = dataclasses.replace(region, student=region.student[:2])
    fails(r"region.student must have shape \(3, 4\), got \(2, 4\)")
    region = dataclasses.replace(region, student=region.teacher, weight=region.weight[:1])
    fails(r"region.weight must have shape \(3, any, any\), got \(1, 6, 6\)")
    with pytest.raises(RangeError, match="student_temperature must be positive, got 0"):
        dense_swapped_prediction_loss(student, target, region, student_temperature=0.0)
