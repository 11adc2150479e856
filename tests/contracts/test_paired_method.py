"""The contract carries more than our methods need so far.

A toy with two image sets, neighbours, a queue, heads at their own rate and a backbone that is
twice as wide as its ViT: what dense post-training asks of the one loop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.data.synthetic import Scenes
from patchwise.eval.patches import KNNPatches
from patchwise.methods import METHODS
from patchwise.methods.method import Batch, Input, Method, ParameterGroup, Step, StepLoss
from patchwise.models.backbone import Backbone, BackboneOutput
from patchwise.models.teacher import EMATeacher
from patchwise.models.vit import ViT
from patchwise.normalisation import normalise
from patchwise.training.checkpoint import pack_state, unpack_state
from patchwise.training.loop import Training
from patchwise.training.plan import Plan, build_training, count_bad_images, open_stream
from tests.eval.tiny import colour_data, subject_of
from tests.small_runs import run_config, small_vit

QUEUE = 12


class Doubled(nn.Module):
    """A ViT's features beside themselves: 2 D wide."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit
        self.dim, self.patch_px = 2 * vit.dim, vit.patch_px

    @property
    def device(self) -> torch.device:
        return self.vit.device

    def forward(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
        out = self.vit(images, attention=attention)
        doubled = [torch.cat([feature, feature], dim=-1) for feature in (out.cls, out.patches)]
        return BackboneOutput(doubled[0], doubled[1], out.grid, out.attention)


@dataclass(frozen=True)
class PairedViews:
    scene: Tensor
    neighbour: Tensor
    thing: Tensor


class Paired(Method[PairedViews, Tensor]):
    """Draw an image to its neighbour, and away from what the queue remembers of the other set."""

    inputs = (Input("scenes", neighbours=True), Input("things"))

    def __init__(self, backbone: ViT, _config: object) -> None:
        super().__init__()
        self.student = Doubled(backbone)
        self.head = nn.Linear(self.student.dim, 8)
        self.teacher = EMATeacher(self.student)
        self.register_buffer("queue", torch.zeros(QUEUE, self.student.dim))
        self.queue: Tensor

    @property
    def backbone(self) -> Backbone:
        return self.student

    def make_views(self, batch: Batch, step: Step) -> PairedViews:
        names = ("scenes", "scenes.neighbour", "things")
        crops = [batch[name].pixels[..., 16:48, 16:48].float() / 255 for name in names]
        return PairedViews(*(normalise(crop) for crop in crops))

    def losses(self, views: PairedViews, step: Step) -> Iterator[StepLoss[Tensor]]:
        with torch.no_grad():
            wanted = step.collectives.gather(self.teacher.module(views.neighbour).cls)
            new = self.teacher.module(views.thing).cls
        found = step.collectives.gather(self.student(views.scene).cls)
        near = 1 - F.cosine_similarity(self.head(found), self.head(wanted)).mean()
        yield StepLoss(near, {"near": near.detach(), "loss": near.detach()}, carry=new)
        far = (self.student(views.scene).cls @ self.queue.mT).square().mean()
        yield StepLoss(far, {"far": far.detach(), "loss": far.detach()}, carry=new[:0])

    @torch.no_grad()
    def after_step(self, carries: Sequence[Tensor], step: Step) -> None:
        new = step.collectives.gather(torch.cat(list(carries)))
        self.queue.copy_(torch.cat([new, self.queue])[:QUEUE])
        self.teacher.follow(self.student, momentum=0.9)

    def parameter_groups(self) -> list[ParameterGroup]:
        body = dict(self.student.named_parameters(prefix="student"))
        body.pop("student.vit.pos_embed")
        head = dict(self.head.named_parameters(prefix="head"))
        position = {"student.vit.pos_embed": self.student.vit.pos_embed}
        return [
            ParameterGroup("backbone", body, decayed=True),
            ParameterGroup("positions", position, decayed=False, frozen_epochs=1.0),
            ParameterGroup("head", head, decayed=False, rate_scale=10.0),
        ]


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setitem(METHODS, "pwself", Paired)
    scenes, things = Scenes(12), Scenes(20, seed=1)
    nearest = np.array([[(i + 1) % 12, (i + 5) % 12] for i in range(12)])
    config = replace(run_config(), backbone=small_vit().config)
    sources = {"scenes": scenes, "things": things}
    return Plan(config, small_vit().eval(), sources, {"scenes": nearest})


def train(plan: Plan, training: Training, until: int) -> list[dict[str, float]]:
    stream = open_stream(plan, count_bad_images(plan), start_step=training.done, say=print)
    return [training.step(next(stream)) for _ in range(until - training.done)]


def test_each_set_has_its_order_and_neighbours_go_with_their_images(plan: Plan) -> None:
    stream = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
    orders: dict[str, list[int]] = {"scenes": [], "things": []}
    for _ in range(3):
        batch = next(stream)
        assert batch.keys() == {"scenes", "scenes.neighbour", "things"}
        for name, order in orders.items():
            order.extend(batch[name].ids.tolist())
        step = (batch["scenes.neighbour"].ids - batch["scenes"].ids) % 12
        assert set(step.tolist()) <= {1, 5}
    assert sorted(orders["scenes"]) == [*range(12)]
    assert orders["scenes"] != orders["things"]


def test_an_epoch_is_that_of_the_smaller_set(plan: Plan) -> None:
    assert plan.steps_per_epoch == 3


def test_the_toy_trains_and_goes_on_bit_by_bit(plan: Plan) -> None:
    whole = build_training(plan, "float32")
    values = train(plan, whole, 6)
    assert all(np.isfinite(list(value.values())).all() for value in values)
    assert values[0].keys() >= {"loss", "near", "far", "gradient_norm", "lr"}

    first, second = build_training(plan, "float32"), build_training(plan, "float32")
    train(plan, first, 3)
    unpack_state(pack_state(first.method, first.optimizer), second.method, second.optimizer)
    second.done = 3
    assert train(plan, second, 6) == values[3:]
    torch.testing.assert_close(
        second.method.state_dict(), whole.method.state_dict(), rtol=0, atol=0
    )


def test_carries_of_all_parts_of_a_batch_reach_the_queue(plan: Plan) -> None:
    config = replace(plan.config, train=replace(plan.config.train, accumulate=2))
    parted, whole = (
        build_training(replace(plan, config=c), "float32") for c in (config, plan.config)
    )
    for training in (parted, whole):
        train(plan, training, 1)
    queues = [training.method.get_buffer("queue") for training in (parted, whole)]
    assert (queues[1] != 0).any(dim=1).sum() == 4
    torch.testing.assert_close(queues[0], queues[1])


def test_all_rates_end_alike_and_the_heads_begin_higher(plan: Plan) -> None:
    config = replace(plan.config.optim, warmup_epochs=0.0, final_lr=1e-5)
    training = build_training(replace(plan, config=replace(plan.config, optim=config)), "float32")
    rates: list[list[float]] = []
    for _ in range(plan.total_steps):
        train(plan, training, training.done + 1)
        rates.append([group["lr"] for group in training.optimizer.param_groups])
    assert rates[0][2] == pytest.approx(10 * rates[0][0])
    ratio = [head / body for body, _, head in rates]
    assert ratio == sorted(ratio, reverse=True)


def test_the_wide_backbone_is_evaluated_like_any_other(plan: Plan) -> None:
    backbone: Any = build_training(plan, "float32").method.eval().backbone
    assert backbone.dim == 64
    result = KNNPatches("p", size_px=32).run(subject_of(backbone), colour_data())
    assert 0 <= result.accuracy <= 1
