"""What every loss must keep, whatever it compares."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import patchwise.losses
from patchwise.errors import ShapeError
from patchwise.losses.cotap import CoTAPLoss, cotap_loss
from patchwise.losses.dense_swapped_prediction import (
    DenseSwappedPredictionLoss,
    SharedRegion,
    dense_swapped_prediction_loss,
)
from patchwise.losses.matched_distillation import MatchedDistillationLoss, TokenPairs
from patchwise.losses.prototype_entropy import PrototypeEntropyLoss, prototype_entropy_loss
from patchwise.losses.similarity_distillation import (
    SimilarityCrossEntropyLoss,
    SimilarityInfoNCELoss,
    SimilarityMSELoss,
    similarity_cross_entropy_loss,
    similarity_info_nce_loss,
    similarity_mse_loss,
)
from patchwise.losses.swapped_prediction import SwappedPredictionLoss, swapped_prediction_loss
from tests.losses.by_scores import distil

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A loss, seen as a function of the student's tensor and of others that get no gradient."""

    inputs: Callable[[torch.dtype], Inputs]  # the student's first
    function: Callable[..., Tensor]
    module: Callable[..., Tensor]
    reorder: Callable[[Inputs], Inputs]  # the same in another order
    misshapen: Callable[[Inputs], Inputs]


PAIRS = TokenPairs(
    teacher=torch.tensor([0, 1, 2, 0, 4, 3]),
    student=torch.tensor([6, 5, 1, 1, 2, 0]),
    weight=torch.tensor([0.3, 0.1, 0.2, 0.1, 0.25, 0.05]),
)


def distillation_inputs(dtype: torch.dtype) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    teacher = torch.randn(5, 6, generator=generator, dtype=torch.float64) / 10
    return student.to(dtype), teacher.to(dtype), PAIRS.weight.to(dtype), torch.arange(6)


def distillation_pairs(weight: Tensor, order: Tensor) -> TokenPairs:
    return TokenPairs(PAIRS.teacher[order], PAIRS.student[order], weight[order])


def draw(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [each.to(dtype) for each in drawn]


def swapped_inputs(dtype: torch.dtype) -> Inputs:
    student, target = draw(dtype, (3, 4, 5), (2, 4, 5))
    return student, target.softmax(dim=-1), torch.arange(4)


OTHER_CROPS = torch.tensor([[0.0, 0.2, 0.3], [0.4, 0.0, 0.1]])


def dense_inputs(dtype: torch.dtype) -> Inputs:
    student, target = draw(dtype, (3, 3, 4, 4), (3, 4, 4, 4))
    boxes = torch.tensor([[0.2, 0.1, 2.5, 2.0], [0.0, 1.0, 3.0, 2.0], [1.0, 0.0, 1.0, 2.0]])
    return student, target.softmax(dim=-1), boxes, torch.arange(3)


def dense_region(boxes: Tensor, order: Tensor) -> SharedRegion:
    weight = torch.linspace(0, 0.1, 12).reshape(3, 2, 2)
    return SharedRegion(boxes[order].detach() + 0.3, boxes[order].detach(), weight[order])


def similarity_inputs(dtype: torch.dtype) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randperm(20, generator=generator) / 10 - 0.95 for _ in range(2))
    match = torch.arange(20) % 3 == 0
    return prediction.view(4, 5).to(dtype), target.view(4, 5).to(dtype), match.view(4, 5)


def over_similarities(function: Callable[..., Tensor], module: nn.Module) -> Case:
    """A loss of predicted similarities, given the teacher's and whether the pairs match."""
    return Case(
        inputs=similarity_inputs,
        function=function,
        module=module,
        reorder=lambda inputs: tuple(x.flip(0, 1) for x in inputs),
        misshapen=lambda inputs: (inputs[0][:, :4], *inputs[1:]),
    )


# By file, and by what follows a dot where a file holds several.
CASES: dict[str, Case] = {
    "swapped_prediction": Case(
        inputs=swapped_inputs,
        function=lambda student, target, order: swapped_prediction_loss(
            student[:, order], target[:, order], OTHER_CROPS
        ),
        module=lambda student, target, _: SwappedPredictionLoss()(student, target, OTHER_CROPS),
        reorder=lambda inputs: (*inputs[:2], torch.tensor([2, 0, 3, 1])),
        misshapen=lambda inputs: (inputs[0], inputs[1][..., :4], inputs[2]),
    ),
    "dense_swapped_prediction": Case(
        inputs=dense_inputs,
        function=lambda student, target, boxes, order: dense_swapped_prediction_loss(
            student[order], target[order], dense_region(boxes, order)
        ),
        module=lambda student, target, boxes, order: DenseSwappedPredictionLoss()(
            student, target, dense_region(boxes, order)
        ),
        reorder=lambda inputs: (*inputs[:3], torch.tensor([2, 0, 1])),
        misshapen=lambda inputs: (inputs[0][..., :3], *inputs[1:]),
    ),
    "prototype_entropy": Case(
        inputs=lambda dtype: (*draw(dtype, (3, 4, 3, 3), (5, 4, 3, 3)), torch.arange(5)),
        function=lambda prototypes, samples, order: prototype_entropy_loss(
            prototypes, samples[order]
        ),
        module=lambda prototypes, samples, _: PrototypeEntropyLoss()(prototypes, samples),
        reorder=lambda inputs: (inputs[0].flip(0), inputs[1], torch.tensor([2, 0, 3, 1, 4])),
        misshapen=lambda inputs: (inputs[0], inputs[1][:, :3], inputs[2]),
    ),
    "cotap": over_similarities(cotap_loss, CoTAPLoss()),
    "similarity_distillation.mse": over_similarities(similarity_mse_loss, SimilarityMSELoss()),
    "similarity_distillation.cross_entropy": over_similarities(
        similarity_cross_entropy_loss, SimilarityCrossEntropyLoss()
    ),
    "similarity_distillation.info_nce": over_similarities(
        similarity_info_nce_loss, SimilarityInfoNCELoss()
    ),
    "matched_distillation": Case(
        inputs=distillation_inputs,
        function=lambda student, teacher, weight, order: distil(
            student, teacher, distillation_pairs(weight, order)
        ),
        module=lambda student, teacher, weight, order: MatchedDistillationLoss()(
            student,
            torch.eye(6, dtype=student.dtype),
            (teacher / 0.04).softmax(dim=-1),
            distillation_pairs(weight, order),
        ),
        reorder=lambda inputs: (*inputs[:3], torch.tensor([4, 1, 0, 5, 3, 2])),
        misshapen=lambda inputs: (inputs[0][:, :5], *inputs[1:]),
    ),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_every_loss_is_tested_here() -> None:
    folder = Path(patchwise.losses.__file__).parent
    tested = {name.partition(".")[0] for name in CASES}
    assert {file.stem for file in folder.glob("[!_]*.py")} == tested


def test_it_is_one_number_that_depends_on_the_student(case: Case) -> None:
    inputs = case.inputs(torch.float64)
    loss = case.function(*inputs)
    assert loss.shape == ()
    assert loss != case.function(inputs[0] + inputs[0].roll(1, dims=0), *inputs[1:])


def test_the_gradient_reaches_the_student_only(case: Case) -> None:
    inputs = case.inputs(torch.float64)
    student = inputs[0].requires_grad_()
    others = [x.requires_grad_() for x in inputs[1:] if x.is_floating_point() and x.ndim > 1]
    case.function(*inputs).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.any()
    assert others
    assert all(other.grad is None for other in others)


def test_the_gradient_is_that_of_the_value(case: Case) -> None:
    student, *others = case.inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda x: case.function(x, *others), student.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_is_finite_in_half_precision(case: Case, dtype: torch.dtype) -> None:
    student, *others = case.inputs(dtype)
    loss = case.function(student.requires_grad_(), *others)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert float(loss.detach()) == pytest.approx(
        float(case.function(*case.inputs(torch.float64))), rel=0.05
    )


def test_the_order_does_not_matter(case: Case) -> None:
    inputs = case.inputs(torch.float64)
    torch.testing.assert_close(case.function(*case.reorder(inputs)), case.function(*inputs))


def test_the_module_is_the_function(case: Case) -> None:
    inputs = case.inputs(torch.float64)
    torch.testing.assert_close(case.module(*inputs), case.function(*inputs))


def test_a_loss_that_looks_at_the_teachers_gradient_is_found_out(case: Case) -> None:
    """The tests above can fail."""
    leaking = replace(case, function=lambda s, t, *rest: case.function(s, t, *rest) + t.sum())
    with pytest.raises(AssertionError):
        test_the_gradient_reaches_the_student_only(leaking)


@pytest.mark.bad_input
def test_bad_shapes_are_named(case: Case) -> None:
    inputs = case.misshapen(case.inputs(torch.float64))
    with pytest.raises(ShapeError, match=r"^\w+_loss: .* must .*, got .*\(\d+(, \d+)+\)"):
        case.function(*inputs)
