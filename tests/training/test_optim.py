"""The optimiser's groups, its schedules, and what is done to gradients before a step."""

import math

import pytest
import torch
from torch import nn

from patchwise.configs.run import OptimConfig
from patchwise.distributed import OneProcess
from patchwise.errors import TrainingError
from patchwise.methods.method import ParameterGroup, Step, decay_groups
from patchwise.training.optim import (
    apply_schedules,
    build_optimizer,
    clip_gradients,
    drop_frozen_gradients,
    relative_update,
)


def make_step(index: int, *, total: int = 100, steps_per_epoch: int = 10) -> Step:
    return Step(index, total, steps_per_epoch, seed=0, collectives=OneProcess())


class Model(nn.Module):
    """Something of everything: matrices, biases, norms, embeddings, a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.frozen = nn.Parameter(torch.randn(2, 2), requires_grad=False)


def make_groups(model: Model) -> list[ParameterGroup]:
    prototypes = nn.Parameter(torch.randn(5, 4))
    head = ParameterGroup("head", {"head.prototypes": prototypes}, True, 0.5, frozen_epochs=1.0)
    return [*decay_groups(model, "model"), head]


def test_every_parameter_is_in_the_group_it_belongs_to() -> None:
    optimizer = build_optimizer(make_groups(Model()))
    names = {tuple(g["names"]): (g["decayed"], g["rate_scale"]) for g in optimizer.param_groups}
    assert names == {
        ("model.token", "model.layer.weight"): (True, 1.0),
        ("model.layer.bias", "model.norm.weight", "model.norm.bias"): (False, 1.0),
        ("head.prototypes",): (True, 0.5),
    }


def test_names_and_parameters_go_together() -> None:
    model = Model()
    optimizer = build_optimizer(make_groups(model))
    named = dict(model.named_parameters(prefix="model"))
    for group in optimizer.param_groups[:2]:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            assert named[name] is parameter


def test_rate_and_decay_of_every_group_follow_their_schedules() -> None:
    optimizer = build_optimizer(make_groups(Model()))
    config = OptimConfig(warmup_epochs=2.0, lr_per_256=1e-3, final_lr=1e-5)
    peak = 1e-3 * 64 / 256
    halved = (peak / 2 - 1e-5) / (peak - 1e-5)  # the head falls from half the peak to the same end
    for index in range(100):
        rate, decay = apply_schedules(optimizer, config, batch=64, step=make_step(index))
        falling = 1e-5 + (peak - 1e-5) * (1 + math.cos(math.pi * (index - 20) / 80)) / 2
        assert rate == pytest.approx(peak * index / 20 if index < 20 else falling)
        assert decay == pytest.approx(0.4 - 0.36 * (1 + math.cos(math.pi * index / 100)) / 2)
        matrices, vectors, head = optimizer.param_groups
        half = peak / 2 * index / 20 if index < 20 else 1e-5 + (falling - 1e-5) * halved
        assert (matrices["lr"], vectors["lr"]) == (rate, rate)
        assert head["lr"] == pytest.approx(half)
        decays = matrices["weight_decay"], vectors["weight_decay"], head["weight_decay"]
        assert decays == (decay, 0.0, decay)


@pytest.mark.parametrize("scale", [0.001, 0.5, 1.0, 10.0])
def test_all_groups_end_at_one_rate_unless_their_peak_is_lower(scale: float) -> None:
    group = ParameterGroup("g", {"p": nn.Parameter(torch.ones(1, 1))}, True, scale)
    optimizer = build_optimizer([group])
    config = OptimConfig(warmup_epochs=0.0, lr_per_256=1e-3, final_lr=1e-5)
    apply_schedules(optimizer, config, batch=256, step=make_step(0))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * scale)
    rate, _ = apply_schedules(optimizer, config, batch=256, step=make_step(100))
    assert rate == pytest.approx(1e-5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(min(1e-5, 1e-3 * scale))


def test_decay_shrinks_matrices_and_leaves_vectors() -> None:
    """With gradients of zero, AdamW does nothing but decay."""
    model = Model()
    optimizer = build_optimizer(decay_groups(model, "model"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = OptimConfig(warmup_epochs=0.0, lr_per_256=0.1)
    rate, decay = apply_schedules(optimizer, config, batch=256, step=make_step(3))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        shrunk = name in {"layer.weight", "token"}
        expected = before[name] * (1 - rate * decay if shrunk else 1.0)
        torch.testing.assert_close(parameter.detach(), expected)


def test_a_step_is_adamw() -> None:
    """Two steps on one number, by the formulas of arXiv:1711.05101."""
    parameter = nn.Parameter(torch.tensor([[1.5]], dtype=torch.float64))
    optimizer = build_optimizer([ParameterGroup("g", {"p": parameter}, True)])
    config = OptimConfig(warmup_epochs=0.0, lr_per_256=0.01)
    weight, first, second = 1.5, 0.0, 0.0
    for count, gradient in enumerate((0.3, -2.0), start=1):
        rate, decay = apply_schedules(optimizer, config, batch=256, step=make_step(count))
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        update = first / (1 - 0.9**count) / (math.sqrt(second / (1 - 0.999**count)) + 1e-8)
        weight = weight * (1 - rate * decay) - rate * update
        assert float(parameter.detach()) == pytest.approx(weight, rel=1e-6)


def test_frozen_groups_do_not_move_until_their_time() -> None:
    optimizer = build_optimizer(make_groups(Model()))
    (prototypes,) = optimizer.param_groups[2]["params"]
    others = [p for group in optimizer.param_groups[:2] for p in group["params"]]
    for index, frozen in [(0, True), (9, True), (10, False), (50, False)]:
        for parameter in (prototypes, *others):
            parameter.grad = torch.ones_like(parameter)
        drop_frozen_gradients(optimizer, make_step(index))
        assert (prototypes.grad is None) == frozen
        assert all(parameter.grad is not None for parameter in others)
        apply_schedules(optimizer, OptimConfig(), batch=256, step=make_step(index))
        before = prototypes.detach().clone()
        optimizer.step()
        assert torch.equal(prototypes, before) == frozen
        assert (prototypes in optimizer.state) == (not frozen)


def gradients(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    parameters = []
    for shape, scale in [((3, 4), 1.0), ((5,), 0.01), ((), 30.0), ((2, 2, 2), 1e-9), ((7,), 5.0)]:
        parameter = nn.Parameter(torch.zeros(shape))
        parameter.grad = torch.randn(shape, generator=generator) * scale
        parameters.append(parameter)
    return parameters


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("max_norm", [0.0, 0.02, 1.0, 3.0])
def test_each_gradient_is_clipped_on_its_own(seed: int, max_norm: float) -> None:
    clipped, plain = gradients(seed), gradients(seed)
    total = clip_gradients(clipped, max_norm=max_norm)
    squares = 0.0
    for mine, reference in zip(clipped, plain, strict=True):
        assert mine.grad is not None
        assert reference.grad is not None
        norm = math.sqrt(sum(value**2 for value in reference.grad.flatten().tolist()))
        squares += norm**2
        scale = min(1.0, max_norm / norm) if max_norm > 0 else 1.0
        torch.testing.assert_close(mine.grad, reference.grad * scale, rtol=1e-4, atol=0)
        if max_norm > 0:
            assert float(mine.grad.norm()) <= max_norm * (1 + 1e-6)
        if scale == 1.0:
            assert torch.equal(mine.grad, reference.grad)
    assert float(total) == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_gradients_are_clipped_in_place() -> None:
    (parameter, *_) = parameters = gradients(0)
    gradient = parameter.grad
    assert gradient is not None
    clip_gradients(iter(parameters), max_norm=1e-3)
    assert parameter.grad is gradient
    assert float(gradient.norm()) == pytest.approx(1e-3, rel=1e-2)


def test_parameters_without_gradient_are_passed_over() -> None:
    parameters = gradients(1)
    expected = clip_gradients(gradients(1), max_norm=0.5)
    found = clip_gradients([nn.Parameter(torch.ones(3)), *parameters], max_norm=0.5)
    assert torch.equal(found, expected)
    nothing = clip_gradients([nn.Parameter(torch.ones(3))], max_norm=1.0)
    assert nothing.shape == ()
    assert float(nothing) == 0.0


def test_a_gradient_of_zeros_stays_so() -> None:
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.zeros(3)
    assert float(clip_gradients([parameter], max_norm=1.0)) == 0.0
    assert (parameter.grad == 0).all()


@pytest.mark.bad_input
def test_a_parameter_in_two_groups_is_refused() -> None:
    parameter = nn.Parameter(torch.ones(1))
    groups = [
        ParameterGroup("a", {"student.weight": parameter}, True),
        ParameterGroup("b", {"head.weight": parameter}, False),
    ]
    with pytest.raises(TrainingError) as caught:
        build_optimizer(groups)
    assert str(caught.value) == (
        "build_optimizer: every parameter must be in one group, got 'head.weight' again as "
        "'student.weight'"
    )


def test_the_relative_update_is_what_the_optimiser_did() -> None:
    model = Model()
    optimizer = build_optimizer(decay_groups(model, "model"))
    assert float(relative_update(optimizer)) == 0
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = 0.01, 0.0
    trained = [p for p in model.parameters() if p.requires_grad]
    for seed in range(4):
        before = [p.detach().clone() for p in trained]
        for place, parameter in enumerate(trained):
            generator = torch.Generator().manual_seed(10 * seed + place)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
        after = [p.detach() for p in trained]
        moved = torch.stack([(a - b).norm() for a, b in zip(after, before, strict=True)]).norm()
        length = torch.stack([a.norm() for a in after]).norm()
        assert float(relative_update(optimizer)) == pytest.approx(float(moved / length), rel=1e-3)
