"""DINO is PW-Self with matching and patch colour off, and equals DINO's own formula."""

import copy
from dataclasses import asdict
from typing import Any

import pytest
import torch

from patchwise.configs.methods import PWSelfConfig
from patchwise.methods.dino import DINO
from patchwise.methods.method import Method
from patchwise.methods.pwself import PWSelf
from patchwise.training.optim import build_optimizer
from tests.small_runs import DINO_CONFIG, carries_of, make_step, scene_batch, small_vit, step_at


def as_pwself() -> PWSelf:
    shared = {**asdict(DINO_CONFIG), "views": DINO_CONFIG.views}
    del shared["name"]
    backbone = small_vit()
    torch.manual_seed(1)
    return PWSelf(backbone, PWSelfConfig(**shared, matching="none", recolour_patches=False))


def as_dino() -> DINO:
    backbone = small_vit()
    torch.manual_seed(1)
    return DINO(backbone, DINO_CONFIG)


def train(method: Method[Any, Any], steps: int) -> list[float]:
    optimizer = build_optimizer(method.parameter_groups())
    losses = []
    for index in range(steps):
        step = step_at(index)
        optimizer.zero_grad()
        found = make_step(method, scene_batch(2 * index, 2 * index + 1), step)
        optimizer.step()
        method.after_step(carries_of(found), step)
        losses.append(sum(float(loss.total.detach()) for loss in found))
    return losses


def test_dino_is_pwself_with_matching_and_patch_colour_off() -> None:
    dino, pwself = as_dino(), as_pwself()
    assert train(dino, 4) == train(pwself, 4)
    torch.testing.assert_close(dino.state_dict(), pwself.state_dict(), rtol=0, atol=0)


class PublishedDINO:
    """The loss of DINO's paper, Algorithm 1, on CLS scores, views in chunks of the batch."""

    def __init__(self, centre: torch.Tensor) -> None:
        self.centre = centre

    def loss(self, teacher: torch.Tensor, student: torch.Tensor, views: int) -> torch.Tensor:
        targets = ((teacher - self.centre) / 0.04).softmax(dim=-1).chunk(2)
        predictions = (student / 0.1).log_softmax(dim=-1).chunk(views)
        costs = [
            -(t * s).sum(dim=-1).mean()
            for q, t in enumerate(targets)
            for v, s in enumerate(predictions)
            if q != v
        ]
        self.centre = 0.9 * self.centre + 0.1 * teacher.mean(dim=0, keepdim=True)
        return torch.stack(costs).mean()


def test_it_equals_dinos_own_formula_over_two_steps() -> None:
    method = as_dino()
    published = PublishedDINO(torch.zeros(1, DINO_CONFIG.prototypes))
    for index in range(2):
        step, batch = step_at(index), scene_batch(0, 1, 2)
        before = copy.deepcopy(method)
        found = make_step(method, batch, step)
        method.after_step(carries_of(found), step)
        with torch.no_grad():
            views = before.make_views(batch, step)
            encode = before.student, before.teacher.module
            student = torch.cat([encode[0].head(encode[0].backbone(p).cls) for p in views.pixels])
            teacher = encode[1].head(encode[1].backbone(views.pixels[0]).cls)
        expected = float(published.loss(teacher, student, views=4))
        assert sum(float(loss.total.detach()) for loss in found) == pytest.approx(expected, 1e-5)
        torch.testing.assert_close(method.centre, published.centre, rtol=1e-5, atol=1e-7)
