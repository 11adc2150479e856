"""A teacher is a copy that only follows."""

import copy

import pytest
import torch
from torch import nn

from patchwise.errors import RangeError
from patchwise.models.teacher import EMATeacher


@pytest.fixture
def student() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def redraw(module: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))


def test_it_begins_as_the_student_and_shares_nothing_with_it(student: nn.Sequential) -> None:
    teacher = EMATeacher(student)
    before = copy.deepcopy(student.state_dict())
    redraw(student, 1)
    for name, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.5, 0.996, 1.0])
def test_it_moves_as_a_plain_loop_says(student: nn.Sequential, momentum: float) -> None:
    teacher = EMATeacher(student)
    for seed in (1, 2):
        redraw(student, seed)
        before = [p.clone() for p in teacher.module.parameters()]
        teacher.follow(student, momentum=momentum)
        pairs = zip(teacher.module.parameters(), before, student.parameters(), strict=True)
        for now, old, target in pairs:
            torch.testing.assert_close(now, momentum * old + (1 - momentum) * target)


def test_at_momentum_1_it_stands_and_at_0_it_is_the_student(student: nn.Sequential) -> None:
    teacher = EMATeacher(student)
    before = [p.clone() for p in teacher.module.parameters()]
    redraw(student, 1)
    teacher.follow(student, momentum=1.0)
    assert all(map(torch.equal, teacher.module.parameters(), before))
    teacher.follow(student, momentum=0.0)
    assert all(map(torch.equal, teacher.module.parameters(), student.parameters()))


def test_buffers_are_copied(student: nn.Sequential) -> None:
    teacher = EMATeacher(student)
    student(torch.randn(8, 3))
    assert not all(map(torch.equal, teacher.module.buffers(), student.buffers()))
    teacher.follow(student, momentum=1.0)
    assert all(map(torch.equal, teacher.module.buffers(), student.buffers()))
    running = student[1].get_buffer("running_mean")
    running.add_(1)
    assert not torch.equal(teacher.module[1].get_buffer("running_mean"), running)


def test_it_is_not_trained_and_the_student_still_is(student: nn.Sequential) -> None:
    teacher = EMATeacher(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    student(torch.randn(8, 3)).sum().backward()
    teacher.follow(student, momentum=0.5)
    assert all(p.grad is None and p.is_leaf for p in teacher.parameters())


def test_it_stays_in_eval_mode_whatever_is_around_it(student: nn.Sequential) -> None:
    teacher = EMATeacher(student)
    assert not any(module.training for module in teacher.modules())
    both = nn.ModuleDict({"student": student, "teacher": teacher}).train()
    assert student.training
    assert not any(module.training for module in both["teacher"].modules())
    assert teacher.train() is teacher
    assert not teacher.module[2].training


@pytest.mark.bad_input
@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_an_impossible_momentum_is_refused(student: nn.Sequential, momentum: float) -> None:
    with pytest.raises(RangeError) as caught:
        EMATeacher(student).follow(student, momentum=momentum)
    assert str(caught.value) == (
        f"EMATeacher.follow: momentum must lie in [0.0, 1.0], got {momentum}"
    )
