"""What every training method must keep, whatever it trains on."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from patchwise.configs.methods import MethodConfig
from patchwise.methods import METHODS, build_method
from patchwise.methods.cotap import CoTAP
from patchwise.methods.method import Batch, Method
from patchwise.methods.pwself import PWSelf
from patchwise.models.vit import ViT
from patchwise.training.optim import build_optimizer
from tests.small_runs import (
    COTAP_CONFIG,
    DINO_CONFIG,
    PWSELF_CONFIG,
    carries_of,
    make_step,
    other_pixels,
    paired_batch,
    scene_batch,
    small_vit,
    step_at,
    total_loss,
)

CONFIGS: dict[str, MethodConfig] = {
    "dino": DINO_CONFIG,
    "pwself": PWSELF_CONFIG,
    "cotap": COTAP_CONFIG,
}
FACTORS = {"loss_frac", "centre_offset", "teacher_distance", "patch_queue_age", "image_queue_age"}
"""Of health: what is no share."""


@pytest.fixture(params=sorted(METHODS))
def build(request: pytest.FixtureRequest) -> Callable[[], Method[Any, Any]]:
    """A function that makes the method anew, always with the same weights, one step into a run.

    So that queues are not empty: parts of a loss wait for that.
    """

    def make() -> Method[Any, Any]:
        backbone = small_vit()
        torch.manual_seed(1)
        method = build_method(backbone, CONFIGS[request.param])
        method.after_step(
            carries_of(make_step(method, batch_of(method, 5, 6), step_at())), step_at()
        )
        method.zero_grad(set_to_none=True)
        return method

    return make


def batch_of(method: Method[Any, Any], *ids: int, epoch: int = 0) -> Batch:
    """Return scenes for each input of a method."""
    if isinstance(method, CoTAP):
        return paired_batch(*ids, epoch=epoch)
    return scene_batch(*ids, epoch=epoch)


def test_every_method_is_tested_here() -> None:
    assert set(CONFIGS) == set(METHODS)


def test_losses_change_no_state(build: Callable[[], Method[Any, Any]]) -> None:
    method = build()
    before = copy.deepcopy(method.state_dict())
    make_step(method, batch_of(method, 0, 1, 2), step_at())
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)


def test_the_same_step_gives_the_same_loss(build: Callable[[], Method[Any, Any]]) -> None:
    method = build()
    batch = batch_of(method, 0, 1, 2)
    assert total_loss(method, batch, step_at()) == total_loss(method, batch, step_at())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_images_are_normalised_as_the_backbones_own(name: str) -> None:
    def loss_of(vit: ViT) -> float:
        torch.manual_seed(1)
        method = build_method(vit, CONFIGS[name])
        return total_loss(method, batch_of(method, 0, 1, 2), step_at())

    expected, other = loss_of(small_vit()), other_pixels(small_vit())
    assert math.isclose(loss_of(other), expected, rel_tol=1e-4)
    other.config = small_vit().config
    assert not math.isclose(loss_of(other), expected, rel_tol=1e-3), "it does count"


def test_views_depend_on_the_epoch_and_the_seed(build: Callable[[], Method[Any, Any]]) -> None:
    method = build()
    losses = {
        total_loss(method, batch_of(method, 0, 1, epoch=epoch), step_at(seed=seed))
        for epoch in (0, 1)
        for seed in (0, 1)
    }
    assert len(losses) == 4


def test_a_saved_method_goes_on_alike(build: Callable[[], Method[Any, Any]]) -> None:
    method, other = build(), build()
    batch = batch_of(method, 0, 1, 2)
    method.after_step(carries_of(make_step(method, batch, step_at())), step_at())
    assert total_loss(method, batch, step_at(1)) != total_loss(other, batch, step_at(1))
    other.load_state_dict(method.state_dict())
    assert total_loss(method, batch, step_at(1)) == total_loss(other, batch, step_at(1))


def test_every_trained_parameter_is_in_one_group_and_gets_a_gradient(
    build: Callable[[], Method[Any, Any]],
) -> None:
    method = build()
    make_step(method, batch_of(method, 0, 1, 2), step_at())
    groups = method.parameter_groups()
    names = [name for group in groups for name in group.parameters]
    assert len(names) == len(set(names))
    grouped = {id(p) for group in groups for p in group.parameters.values()}
    assert grouped == {id(p) for p in method.parameters() if p.requires_grad}
    for group in groups:
        for name, parameter in group.parameters.items():
            assert parameter.grad is not None, name
            assert parameter.grad.any() or name.endswith("bias"), name


def test_biases_and_vectors_are_not_decayed(build: Callable[[], Method[Any, Any]]) -> None:
    for group in build().parameter_groups():
        for name, parameter in group.parameters.items():
            assert group.decayed == (parameter.ndim > 1 and not name.endswith("bias")), name


def test_the_evaluated_backbone_is_untouched_by_training_mode(
    build: Callable[[], Method[Any, Any]],
) -> None:
    method = build().train()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first = method.backbone(images).patches
        second = method.backbone(images).patches
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_image_order_does_not_matter(build: Callable[[], Method[Any, Any]]) -> None:
    """Of two: among more, CoTAP draws by their places whose neighbours are strangers."""
    method = build()
    forward = total_loss(method, batch_of(method, 0, 1), step_at())
    backward = total_loss(method, batch_of(method, 1, 0), step_at())
    assert forward == pytest.approx(backward, rel=1e-5)


def test_a_batch_is_the_mean_of_its_images(build: Callable[[], Method[Any, Any]]) -> None:
    """Not CoTAP's: assignments are balanced over a batch, and its pairs are ranked as one list."""
    method = build()
    if isinstance(method, CoTAP):
        return
    together = total_loss(method, scene_batch(3, 8), step_at())
    apart = [total_loss(method, scene_batch(i), step_at()) for i in (3, 8)]
    assert together == pytest.approx(sum(apart) / 2, rel=1e-5)


def test_training_teaches_the_student_to_foresee_the_teacher(
    build: Callable[[], Method[Any, Any]],
) -> None:
    """On one batch seen again and again, it does so better than an untrained student."""
    method = build()
    batch = batch_of(method, *range(4))
    untrained = {
        name: tensor.clone()
        for name, tensor in method.state_dict().items()
        if name.startswith("student.")
    }
    if isinstance(method, PWSelf):
        method.config = replace(
            method.config, teacher_temperature=0.02, warmup_teacher_temperature=0.02
        )
    optimizer = build_optimizer(method.parameter_groups())
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = 1e-3, 0.0
    steps = 20 if isinstance(method, CoTAP) else 50
    for index in range(steps):
        optimizer.zero_grad()
        losses = make_step(method, batch, step_at(index))
        optimizer.step()
        method.after_step(carries_of(losses), step_at(index))
    trained = total_loss(method, batch, step_at(steps))
    method.load_state_dict({**method.state_dict(), **untrained})
    assert trained < 0.9 * total_loss(method, batch, step_at(steps))


def test_health_is_told_on_watched_steps_only_and_costs_nothing_else(
    build: Callable[[], Method[Any, Any]],
) -> None:
    method, step = build(), step_at()
    batch = batch_of(method, 0, 1, 2)
    plain = make_step(method, batch, step)
    assert not any(loss.health for loss in plain)
    gradients = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    method.zero_grad(set_to_none=True)
    before = copy.deepcopy(method.state_dict())
    watched = make_step(method, batch, replace(step, watched=True))
    assert any(loss.health for loss in watched)
    assert [loss.total.item() for loss in watched] == [loss.total.item() for loss in plain]
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)
    for name, parameter in method.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=0)


@pytest.mark.parametrize("half", [False, True])
def test_health_is_finite_and_shares_are_shares(
    build: Callable[[], Method[Any, Any]], half: bool
) -> None:
    method = build()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        losses = make_step(method, batch_of(method, 0, 1), replace(step_at(), watched=True))
    for loss in losses:
        for name, value in loss.health.items():
            assert value.ndim == 0
            assert not value.requires_grad
            assert math.isfinite(float(value)), name
            if name not in FACTORS:
                assert 0 <= float(value) <= 1 + 1e-9, name


def test_it_is_finite_in_bf16(build: Callable[[], Method[Any, Any]]) -> None:
    method = build()
    with torch.autocast("cpu", torch.bfloat16):
        assert math.isfinite(total_loss(method, batch_of(method, 0, 1), step_at()))


def test_a_settled_method_makes_the_steps_of_a_run_under_way(
    build: Callable[[], Method[Any, Any]],
) -> None:
    method = build()
    before = {name: tensor.shape for name, tensor in method.state_dict().items()}
    method.settle()
    losses = make_step(method, batch_of(method, 0, 1, 2), step_at())
    assert all(loss.total.isfinite() for loss in losses)
    method.after_step(carries_of(losses), step_at())
    assert {name: tensor.shape for name, tensor in method.state_dict().items()} == before
    if isinstance(method, CoTAP):
        assert method.patch_queue.scores.full
        assert method.image_queue.scores.full
        assert any("prototype" in loss.parts for loss in losses)
