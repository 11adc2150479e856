"""Tensors into a ViT."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.fitting import Origin
from patchwise.models.weights.fitting import build as build_any

MakeViT = Callable[[ViTConfig], ViT]
CONFIG = ViTConfig(
    dim=24, depth=2, heads=3, patch_px=4, image_px=16, registers=2, layer_scale=0.1, drop_path=0.3
)


def build(tensors: dict[str, Tensor]) -> ViT:
    return build_any(lambda: ViT(CONFIG), tensors, path=Path("x.pth"), source="a test")[0]


def test_the_vit_is_the_one_the_weights_came_from(make_vit: MakeViT) -> None:
    vit = make_vit(CONFIG)
    built = build(vit.state_dict())
    images = torch.randn(2, 3, 20, 12)
    assert torch.equal(built(images).patches, vit(images).patches)
    assert not any(module.training for module in built.modules())
    assert built.config == CONFIG


def test_nothing_random_is_drawn(make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    state = torch.get_rng_state()
    build(weights)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_vit_can_be_trained_and_copied(make_vit: MakeViT) -> None:
    built = build(make_vit(CONFIG).state_dict()).train()
    assert all(weight.requires_grad for weight in built.parameters())
    assert all(weight.device.type == "cpu" for weight in built.parameters())
    copy.deepcopy(built)(torch.randn(2, 3, 16, 16)).cls.sum().backward()


def test_the_vit_has_memory_of_its_own(make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    built = build(weights).state_dict()
    for name, weight in weights.items():
        weight.zero_()
        assert built[name].any()
        assert built[name].is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_become_float32(dtype: torch.dtype, make_vit: MakeViT) -> None:
    weights = {name: weight.to(dtype) for name, weight in make_vit(CONFIG).state_dict().items()}
    for name, weight in build(weights).state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, weights[name].float())


@pytest.mark.bad_input
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_every_weight_that_is_not_finite_is_named(broken: float, make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    for name, weight in weights.items():
        bad = weight.clone()
        bad.view(-1)[-1] = broken
        with pytest.raises(WeightsError, match=f"must be finite, got NaN or infinity in '{name}'$"):
            build({**weights, name: bad})


@pytest.mark.bad_input
def test_a_number_too_large_for_float32_is_not_finite(make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    weights["norm.bias"] = weights["norm.bias"].double() + 1e300
    with pytest.raises(WeightsError, match=r"NaN or infinity in 'norm.bias'"):
        build(weights)


@pytest.mark.bad_input
def test_every_wrong_shape_is_named(make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    for name, weight in weights.items():
        message = rf"of the shapes of its ViT \(read as a test\), got '{name} .* for "
        for bad in (torch.cat([weight, weight]), weight[..., None], weight[None]):
            with pytest.raises(WeightsError, match=message):
                build({**weights, name: bad})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_other_numbers_are_refused(dtype: torch.dtype, make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    weights["norm.bias"] = weights["norm.bias"].to(dtype)
    with pytest.raises(WeightsError, match=f"of 16 to 64 bits .* got {dtype} in 'norm.bias'$"):
        build(weights)


@pytest.mark.bad_input
@pytest.mark.parametrize("sizes", [{"image_px": 4 * 10**10}, {"mlp_ratio": 1e300}])
def test_sizes_beyond_counting_are_refused(sizes: dict[str, float]) -> None:
    """As another library's config.json, or a header, may say them."""
    config = replace(CONFIG, **sizes)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"must hold a possible ViT .* got sizes that are too"):
        build_any(lambda: ViT(config), {}, path=Path("x.pth"), source="a test")


@pytest.mark.bad_input
def test_missing_and_left_over_names_are_both_listed(make_vit: MakeViT) -> None:
    weights = make_vit(replace(CONFIG, depth=1)).state_dict()
    weights["head.weight"] = weights.pop("norm.weight")
    message = (
        r"must hold every weight of its ViT and no other \(read as a test\), got missing "
        r"'blocks.1.norm1.weight', .* and 5 more; left over 'head.weight'$"
    )
    with pytest.raises(WeightsError, match=message):
        build(weights)


HALVES = Origin(("first", "second"))
SUM = Origin(("a", "b"), lambda a, b: a + b)


def other_names(name: str) -> Origin:
    """A file in which one weight comes in halves, one as a sum, and others with a prefix."""
    special = {"blocks.0.attn.qkv.bias": HALVES, "norm.bias": SUM}
    return special.get(name, Origin((f"net.{name}",)))


def in_other_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {f"net.{name}": weight for name, weight in weights.items()}
    theirs["first"], theirs["second"] = theirs.pop("net.blocks.0.attn.qkv.bias").tensor_split([10])
    whole = theirs.pop("net.norm.bias")
    theirs["a"] = torch.ones(24)
    theirs["b"] = whole - 1
    return theirs


def build_other(
    tensors: dict[str, Tensor], unused: list[str] | None = None
) -> tuple[ViT, tuple[str, ...]]:
    return build_any(
        lambda: ViT(CONFIG),
        tensors,
        path=Path("x.pth"),
        source="a test",
        origin=other_names,
        unused=unused or [],
    )


def test_weights_may_come_in_parts_and_by_other_names(make_vit: MakeViT) -> None:
    weights = make_vit(CONFIG).state_dict()
    built = build_other(in_other_names(weights))[0].state_dict()
    for name, weight in weights.items():
        torch.testing.assert_close(built[name], weight)


def test_what_is_not_used_is_said(make_vit: MakeViT) -> None:
    weights = in_other_names(make_vit(CONFIG).state_dict())
    extra = {"head.weight": torch.ones(2), "head.steps": torch.ones(2, dtype=torch.int64)}
    _, left_out = build_other({**weights, **extra}, [r"head\..*", "net.norm.weight"])
    assert left_out == ("head.weight", "head.steps")


@pytest.mark.bad_input
def test_messages_name_what_is_in_the_file(make_vit: MakeViT) -> None:
    weights = in_other_names(make_vit(CONFIG).state_dict())
    for name in weights:
        rest = {other: tensor for other, tensor in weights.items() if other != name}
        with pytest.raises(WeightsError, match=f"missing '{name}'$"):
            build_other(rest)
        with pytest.raises(WeightsError, match=f"missing '{name}'; left over '{name}_'$"):
            build_other({**rest, f"{name}_": weights[name]})
        with pytest.raises(WeightsError, match=rf"got '.*{name} \(.*\).* for \("):
            build_other({**rest, name: weights[name][None, None]})
        with pytest.raises(WeightsError, match=f"NaN or infinity in '{name}'$"):
            build_other({**rest, name: weights[name] * torch.nan})
    with pytest.raises(WeightsError, match=r"left over 'ahead.weight'$"):
        build_other({**weights, "ahead.weight": torch.ones(2)}, [r"head\..*"])
