"""The floor must hold the products of a step, and nothing beyond them."""

import pytest
from benchmarks.cotap_floor import build_floor, scored_patches
from benchmarks.cotap_setting import CoTAPSetting, method_of
from benchmarks.cotap_step import build_step
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cotap_floor
from patchwise.configs.cotap import CoTAPConfig
from patchwise.methods.cotap import CoTAP
from patchwise.training.engine import Precision
from patchwise.training.loop import Training


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
def test_it_goes_backward_in_both_precisions_and_leaves_no_gradient(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods: list[CoTAP] = []

    def kept(training: Training) -> CoTAP:
        methods.append(method_of(training))
        return methods[-1]

    monkeypatch.setattr(cotap_floor, "method_of", kept)
    act = build_floor(CoTAPSetting(precision=precision, batch=1))
    (method,) = methods
    made: set[str] = set()
    for name, parameter in method.student.named_parameters():
        if parameter.requires_grad:
            hook = lambda _, name=name: made.add(name)  # noqa: E731
            parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    act()
    for part in ("backbone.vit.patch_embed.proj.weight", "patch_head.prototypes"):
        assert part in made
    assert {name.split(".")[0] for name in made} == {"backbone", "patch_head", "image_head"}
    assert all(parameter.grad is None for parameter in method.parameters())
