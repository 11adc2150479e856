"""From settings to something that can be trained."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchwise.configs.run import DataConfig, Keep
from patchwise.data.source import open_source
from patchwise.errors import ConfigError
from patchwise.models.vit import ViT
from patchwise.training import plan as module
from patchwise.training.forecast import Measurement
from patchwise.training.plan import (
    build_training,
    count_bad_images,
    find_residences,
    forecast,
    make_plan,
    open_stream,
)
from tests.data.numbered import Numbered
from tests.small_runs import COTAP_CONFIG, PWSELF_CONFIG, VIEWS, VIT, run_config, small_vit


def test_steps_follow_from_images_batch_and_epochs() -> None:
    plan = make_plan(run_config(epochs=2.5), open_source("scenes:18"), None)
    assert (plan.steps_per_epoch, plan.total_steps) == (4, 10)


def test_a_run_is_never_shorter_than_one_step() -> None:
    config = run_config(epochs=0.01)
    config = replace(config, optim=replace(config.optim, warmup_epochs=0.0))
    assert make_plan(config, open_source("scenes:18"), None).total_steps == 1


def test_initial_weights_follow_from_the_seed() -> None:
    source = open_source("scenes:8")
    states = [
        make_plan(run_config(seed=seed), source, None).initial.state_dict() for seed in (0, 0, 1)
    ]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert not torch.equal(states[0]["cls_token"], states[2]["cls_token"])


def test_given_weights_are_the_initial_ones_and_stay_so() -> None:
    weights = small_vit(seed=7)
    plan = make_plan(run_config(), open_source("scenes:8"), weights)
    training = build_training(plan, "float32")
    stream = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
    for _ in range(2):
        training.step(next(stream))
    torch.testing.assert_close(plan.initial.state_dict(), weights.state_dict(), rtol=0, atol=0)
    assert isinstance(plan.initial, ViT)
    assert plan.initial.config.drop_path == 0.2


def test_two_trainings_of_a_plan_begin_alike() -> None:
    plan = make_plan(run_config(), open_source("scenes:8"), None)
    first, second = (build_training(plan, "float32") for _ in range(2))
    torch.testing.assert_close(
        first.method.state_dict(), second.method.state_dict(), rtol=0, atol=0
    )


def test_a_stream_goes_on_where_it_is_told_to() -> None:
    plan = make_plan(run_config(), open_source("scenes:18"), None)
    whole = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
    batches = [next(whole)["images"] for _ in range(7)]
    rest = open_stream(plan, count_bad_images(plan), start_step=5, say=print)
    for expected in batches[5:]:
        batch = next(rest)["images"]
        assert torch.equal(batch.pixels, expected.pixels)
        assert torch.equal(batch.ids, expected.ids)
        assert batch.epoch == expected.epoch == 1


def test_images_in_memory_change_nothing() -> None:
    plan = make_plan(run_config(), open_source("scenes:18"), None)
    said: list[str] = []
    residences = find_residences(plan, said.append)
    assert said == ["keeping 18 images, 0 MiB, on cpu after the first epoch"]
    streams = (
        open_stream(plan, count_bad_images(plan), start_step=3, say=print, residences=where)
        for where in (residences, None)
    )
    for (kept, plain), _ in zip(zip(*streams, strict=True), range(15), strict=False):
        assert torch.equal(kept["images"].pixels, plain["images"].pixels)
        assert torch.equal(kept["images"].ids, plain["images"].ids)
        assert kept["images"].epoch == plain["images"].epoch


def test_later_epochs_read_no_image() -> None:
    seen: list[int] = []

    class Counted(Numbered):
        def read(self, index: int) -> NDArray[np.uint8]:
            seen.append(index)
            return super().read(index)

    plan = make_plan(run_config(), Counted(12), None)
    residences = find_residences(plan, print)
    seen.clear()
    stream = open_stream(
        plan, count_bad_images(plan), start_step=0, say=print, residences=residences
    )
    list(islice(stream, 9))
    assert sorted(seen) == list(range(12))


def test_images_that_nothing_is_trained_on_are_not_read() -> None:
    batches, kept = [], []
    alone = replace(COTAP_CONFIG, image_weight=0.0, neighbour_weight=0.0)
    for method in (COTAP_CONFIG, alone):
        config = replace(run_config(), backbone=VIT, method=method)
        sources = {"scenes": open_source("scenes:8"), "objects": open_source("scenes:9")}
        near = {n: np.roll(np.arange(len(s)), 1)[:, None] for n, s in sources.items()}
        plan = make_plan(config, sources, small_vit(), near)
        stream = open_stream(plan, count_bad_images(plan), start_step=0, say=print)
        batches.append(next(stream))
        kept.append(find_residences(plan, print).keys())
    assert batches[0].keys() == {"scenes", "scenes.neighbour", "objects", "objects.neighbour"}
    assert batches[1].keys() == {"scenes", "scenes.neighbour"}
    assert torch.equal(batches[1]["scenes"].ids, batches[0]["scenes"].ids)
    assert kept == [{"scenes", "objects"}, {"scenes"}]


def test_images_stay_nowhere_on_request() -> None:
    config = run_config()
    config = replace(config, data=replace(config.data, keep="none"))
    said: list[str] = []
    plan = make_plan(config, open_source("scenes:18"), None)
    assert find_residences(plan, said.append) == {}
    assert said == []


def test_the_forecast_counts_the_memory_of_images_that_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "measure", lambda training, stream: Measurement(10.0, 1000))
    peaks = []
    choices: tuple[Keep, ...] = ("none", "device")
    for keep in choices:
        config = replace(run_config(), data=DataConfig(workers=0, keep=keep))
        plan = make_plan(config, open_source("scenes:8"), None)
        peaks.append(forecast(plan, lambda _: None)[1].peak_bytes)
    assert peaks == [1000, 1000 + 8 * 3 * 64 * 64]


def test_the_forecast_says_that_it_is_of_the_first_epoch() -> None:
    said: list[str] = []
    forecast(make_plan(run_config(), open_source("scenes:8"), None), said.append)
    assert said == ["measuring some steps in float32, of the first epoch ..."]


def test_the_forecast_keeps_a_precision_that_was_given() -> None:
    plan = make_plan(run_config(precision="bf16"), open_source("scenes:8"), None)
    resolved, cost = forecast(plan, lambda _: None)
    assert resolved.config.train.precision == cost.precision == "bf16"
    assert list(cost.measured) == ["bf16"]


def test_the_forecast_settles_an_open_precision() -> None:
    plan = make_plan(run_config(precision=None), open_source("scenes:8"), None)
    said: list[str] = []
    resolved, cost = forecast(plan, said.append)
    assert resolved.config.train.precision == cost.precision
    assert cost.images_per_s == max(cost.measured.values())
    assert len(said) == 2


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["global_px", "local_px"])
def test_views_that_are_no_multiple_of_the_patch_are_named(name: str) -> None:
    config = run_config()
    changed: dict[str, Any] = {name: 20}
    config = replace(config, method=replace(PWSELF_CONFIG, views=replace(VIEWS, **changed)))
    with pytest.raises(ConfigError, match=f"method.views.{name}' must be a multiple.*got 20; use"):
        make_plan(config, open_source("scenes:8"), None)


@pytest.mark.bad_input
def test_more_images_a_batch_than_there_are_is_named() -> None:
    with pytest.raises(ConfigError, match=r"got batch 4 for 3 images.*train\.batch=3"):
        make_plan(run_config(), open_source("scenes:3"), None)


def test_one_image_set_has_one_count_of_bad_images() -> None:
    config = replace(run_config(), backbone=small_vit().config, method=COTAP_CONFIG)
    made_up = np.roll(np.arange(9), -1)[:, None]
    nearest = {"scenes": made_up, "objects": made_up}
    one, other = open_source("scenes:9"), open_source("scenes:9")
    shared = count_bad_images(make_plan(config, one, small_vit(), nearest))
    assert shared["scenes"] is shared["objects"]
    two = {"scenes": one, "objects": other}
    apart = count_bad_images(make_plan(config, two, small_vit(), nearest))
    assert apart["scenes"] is not apart["objects"]
