"""What CoTAP asks of the one loop: two image sets, neighbours, queues, a rate of the heads' own."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from patchwise.data.synthetic import Scenes
from patchwise.eval.patches import KNNPatches
from patchwise.methods.cotap import CoTAP
from patchwise.methods.method import Batch
from patchwise.training.checkpoint import pack_state, unpack_state
from patchwise.training.loop import Training
from patchwise.training.plan import Plan, build_training, count_bad_images, open_stream
from tests.eval.tiny import colour_data, subject_of
from tests.small_runs import COTAP_CONFIG, run_config, small_vit


@pytest.fixture
def plan() -> Plan:
    """The bank is full after two steps of four images."""
    config = run_config()
    config = replace(
        config,
        backbone=small_vit().config,
        method=replace(COTAP_CONFIG, bank_samples=24),
        optim=replace(config.optim, warmup_epochs=0.0, final_lr=1e-5),
    )
    sources = {"scenes": Scenes(12), "objects": Scenes(20, seed=1)}
    nearest = {
        "scenes": np.array([[(i + 1) % 12, (i + 5) % 12] for i in range(12)]),
        "objects": np.array([[(i + 3) % 20] for i in range(20)]),
    }
    return Plan(config, small_vit().eval(), sources, nearest)


def stream_of(plan: Plan, start: int = 0) -> Iterator[Batch]:
    return open_stream(plan, count_bad_images(plan), start_step=start, say=print)


def train(plan: Plan, training: Training, until: int) -> list[dict[str, float]]:
    stream = stream_of(plan, training.done)
    return [training.step(next(stream)) for _ in range(until - training.done)]


def cotap_of(training: Training) -> CoTAP:
    assert isinstance(training.method, CoTAP)
    return training.method


def test_each_set_has_its_order_and_neighbours_go_with_their_images(plan: Plan) -> None:
    stream = stream_of(plan)
    orders: dict[str, list[int]] = {"scenes": [], "objects": []}
    for _ in range(3):
        batch = next(stream)
        assert batch.keys() == {*orders, "scenes.neighbour", "objects.neighbour"}
        for name, order in orders.items():
            order.extend(batch[name].ids.tolist())
        steps = (batch["scenes.neighbour"].ids - batch["scenes"].ids) % 12
        assert set(steps.tolist()) <= {1, 5}
        assert set(((batch["objects.neighbour"].ids - batch["objects"].ids) % 20).tolist()) == {3}
    assert sorted(orders["scenes"]) == [*range(12)]
    assert orders["scenes"] != orders["objects"]


def test_an_epoch_is_that_of_the_smaller_set(plan: Plan) -> None:
    assert plan.steps_per_epoch == 3


def test_it_goes_on_bit_by_bit_before_and_after_the_bank_is_full(plan: Plan) -> None:
    whole = build_training(plan, "float32")
    values = train(plan, whole, 4)
    assert all(np.isfinite(list(value.values())).all() for value in values)
    assert ["prototype" in value for value in values] == [False, False, True, True]
    assert values[3].keys() >= {"dense", "image", "neighbour", "ranking", "health/mask_area"}

    first = build_training(plan, "float32")
    for stop, full in ((1, False), (3, True)):
        train(plan, first, stop)
        bank = cotap_of(first).bank
        assert bank is not None
        assert bank.full == full
        second = build_training(plan, "float32")
        saved = {n: t.clone() for n, t in pack_state(first.method, first.optimizer).items()}
        unpack_state(saved, second.method, second.optimizer)
        second.done = stop
        assert train(plan, second, 4) == values[stop:]
        torch.testing.assert_close(
            second.method.state_dict(), whole.method.state_dict(), rtol=0, atol=0
        )


def test_parts_of_a_batch_fill_queues_and_bank_as_the_whole_does(plan: Plan) -> None:
    config = replace(plan.config, train=replace(plan.config.train, accumulate=2))
    parted, whole = (
        build_training(replace(plan, config=c), "float32") for c in (config, plan.config)
    )
    for training in (parted, whole):
        assert np.isfinite(list(train(plan, training, 1)[0].values())).all()
    kept, expected = cotap_of(parted), cotap_of(whole)
    for name in ("patch_queue.scores", "image_queue.scores", "bank.queue"):
        buffers = [method.get_buffer(f"{name}.stored") for method in (kept, expected)]
        torch.testing.assert_close(*buffers)
        pushed = [int(method.get_buffer(f"{name}.pushed")) for method in (kept, expected)]
        assert pushed[0] == pushed[1] > 0


def test_all_rates_end_alike_and_the_heads_begin_higher(plan: Plan) -> None:
    training = build_training(plan, "float32")
    stream = stream_of(plan)
    rates: list[dict[str, float]] = []
    for done in (0, plan.total_steps // 2, plan.total_steps - 1):
        training.done = done
        training.step(next(stream))
        names = [group.name for group in training.method.parameter_groups()]
        found = [group["lr"] for group in training.optimizer.param_groups]
        rates.append(dict(zip(names, found, strict=True)))
    ratios = [rate["patch_head.decayed"] / rate["backbone.decayed"] for rate in rates]
    assert ratios[0] == pytest.approx(10)
    assert ratios == sorted(ratios, reverse=True)
    assert all(rate["image_head.decayed"] == rate["patch_head.decayed"] for rate in rates)


def test_the_wide_backbone_is_evaluated_like_any_other(plan: Plan) -> None:
    backbone = cotap_of(build_training(plan, "float32")).eval().backbone
    assert backbone.dim == 64
    result = KNNPatches("p", size_px=32).run(subject_of(backbone), colour_data())
    assert 0 <= result.accuracy <= 1
