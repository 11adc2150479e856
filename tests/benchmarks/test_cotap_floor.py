"""The floor must hold the products of a step, and nothing beyond them."""

import pytest
from benchmarks.cotap_floor import build_floor, scored_patches
from benchmarks.cotap_setting import CoTAPSetting
from benchmarks.cotap_step import build_step
from torch.utils.flop_counter import FlopCounterMode

from patchwise.configs.cotap import CoTAPConfig
from patchwise.training.engine import Precision


def test_no_more_rows_are_scored_than_are_compared() -> None:
    config = CoTAPConfig()
    assert scored_patches(config, 196, local=False) == 36 + 5
    assert scored_patches(config, 196, local=True) == 2 * 36
    assert scored_patches(config, 36, local=True) == 36


def test_nearly_all_products_of_a_step_are_in_the_floor() -> None:
    setting = CoTAPSetting(batch=2)
    flops = {}
    for build in (build_floor, build_step):
        act = build(setting)
        with FlopCounterMode(display=False) as counter:
            act()
        flops[build] = counter.get_total_flops()
    assert 1 < flops[build_step] / flops[build_floor] < 1.1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_runs_in_both_precisions_and_leaves_no_gradient(precision: Precision) -> None:
    build_floor(CoTAPSetting(precision=precision, batch=1))()
