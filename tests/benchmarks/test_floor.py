"""The floor must multiply what a step multiplies, no more and no less."""

from dataclasses import replace

import pytest
import torch
from benchmarks.floor import (
    BLOCK,
    Products,
    build_floor,
    count_rows,
    multiply,
)
from benchmarks.setting import Setting
from torch.utils.flop_counter import FlopCounterMode

from patchwise.configs.methods import PWSelfConfig
from patchwise.methods.pwself import PWSelf
from patchwise.methods.token_pairs import pair_tokens
from tests.small_runs import PWSELF_CONFIG, scene_batch, small_vit, step_at


@pytest.mark.parametrize("local_count", [0, 2])
def test_the_rows_are_those_that_our_pairs_name(local_count: int) -> None:
    views = replace(PWSELF_CONFIG.views, local_count=local_count)
    method = PWSelf(small_vit(), replace(PWSELF_CONFIG, views=views, matching="thinned"))
    made = method.make_views(scene_batch(0, 1, 2), step_at())
    pairs = [
        one.pairs for one in pair_tokens(made, matching=method.config.matching, cls_weight=None)
    ]
    rows = count_rows(made)
    assert rows.student == tuple(len(set(group.student.tolist())) for group in pairs)
    assert rows.teacher == len(set(torch.cat([group.teacher for group in pairs]).tolist()))
    assert rows.teacher_all == 2 * 3 * 17


@pytest.mark.parametrize("prototypes", [5, BLOCK, BLOCK + 7])
def test_products_are_counted_for_every_prototype(prototypes: int) -> None:
    rows, weights = torch.randn(3, 4), torch.randn(prototypes, 4)
    gradient = torch.empty_like(weights)
    counts = Products(scores=2, to_rows=3, to_prototypes=4)
    with FlopCounterMode(display=False) as counter:
        multiply(rows, weights, gradient, counts)
    assert counter.get_total_flops() == (2 + 3 + 4) * 2 * rows.numel() * prototypes
    torch.testing.assert_close(gradient, weights @ rows.mT @ rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_runs_in_both_precisions(precision: str) -> None:
    base = Setting(prototypes=16, batch=1, local_count=1)
    setting = replace(base, precision=precision)  # type: ignore[arg-type]
    assert isinstance(setting.config("pwself").method, PWSelfConfig)
    build_floor(setting)()
