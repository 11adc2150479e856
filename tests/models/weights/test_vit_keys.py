"""Reading an architecture off names and shapes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import WeightsError
from patchwise.models.vit import ViT
from patchwise.models.weights.fitting import Origin
from patchwise.models.weights.vit_keys import (
    HEAD_NAMES,
    PLAIN_NAMES,
    Heads,
    ViTKeys,
    heads_by_width,
    heads_of_64,
)

CONFIG = ViTConfig(dim=24, depth=3, heads=2, patch_px=4, image_px=20, mlp_ratio=1.5)
TWELVE = Heads("anything", lambda dim: dim // 12)


def keys_of(config: ViTConfig, prefix: str = "net.") -> ViTKeys:
    weights = {f"{prefix}{name}": weight for name, weight in ViT(config).state_dict().items()}
    return ViTKeys(Path("x.pth"), "a test", weights, prefix, ("optimizer.a", "optimizer.b"))


@pytest.mark.parametrize("layer_scale", [0.0, 1.0])
@pytest.mark.parametrize("prefix", ["", "net."])
def test_the_architecture_is_read_off(layer_scale: float, prefix: str) -> None:
    config = replace(CONFIG, layer_scale=layer_scale)
    assert keys_of(config, prefix).infer_config(TWELVE) == config


def test_without_stored_positions_any_size_will_do() -> None:
    keys = keys_of(replace(CONFIG, positions="rotary"))
    assert keys.infer_config(TWELVE, learned=False).image_px % CONFIG.patch_px == 0


def test_names_behind_another_prefix_tell_nothing() -> None:
    keys = keys_of(CONFIG)
    more = {"other.blocks.7.norm1.weight": torch.ones(2), "abc.blocks.8.ls1.gamma": torch.ones(2)}
    assert replace(keys, tensors={**keys.tensors, **more}).infer_config(TWELVE) == CONFIG


def test_weights_are_loaded_and_what_is_left_out_is_said() -> None:
    keys = keys_of(CONFIG)
    extra = {"net.head.0.weight": torch.ones(2), "net.head.0.bias": torch.ones(2)}
    loaded = replace(keys, tensors={**keys.tensors, **extra}).load(
        CONFIG, unused=[r"net\.head\.0\.(weight|bias)"]
    )
    assert loaded.left_out == ("net.head.*", "optimizer.*")
    assert loaded.layout == "a test"
    assert torch.equal(loaded.vit.norm.bias, keys.tensors["net.norm.bias"])


def test_origins_are_names_without_the_prefix() -> None:
    keys = keys_of(CONFIG)
    tensors = dict(keys.tensors)
    tensors["net.a"], tensors["net.b"] = tensors.pop("net.norm.weight").tensor_split([7])

    def origin(name: str) -> Origin:
        return Origin(("a", "b") if name == "norm.weight" else (name,))

    loaded = replace(keys, tensors=tensors).load(CONFIG, origin=origin)
    assert torch.equal(loaded.vit.norm.weight, keys.tensors["net.norm.weight"])


def test_weights_are_found_by_our_names() -> None:
    keys = keys_of(CONFIG)
    assert keys.find("norm.bias") is keys.tensors["net.norm.bias"]
    assert keys.find("net.norm.bias") is None
    assert keys.length("pos_embed", axis=1, axes=3) == 26
    assert keys.length("pos_embed", axis=1, axes=2) is None
    assert keys.length("nothing", axis=0, axes=1) is None
    assert keys.any_named(r"blocks\.\d+\.mlp\.fc1\.bias")
    assert not keys.any_named(r"mlp\.fc1\.bias")


@pytest.mark.parametrize(("dim", "heads"), [(192, 3), (384, 6), (1024, 16)])
def test_heads_of_64_channels(dim: int, heads: int) -> None:
    assert heads_of_64(most=1024).count(dim) == heads
    assert heads_of_64(most=dim - 1).count(dim) is None


@pytest.mark.parametrize("dim", [0, 64, 128, 200, 383, 1088])
def test_other_widths_have_no_known_heads(dim: int) -> None:
    assert heads_of_64(most=1024).count(dim) is None


def test_heads_come_from_a_table() -> None:
    heads = heads_by_width({384: 12, 1280: 16})
    assert [heads.count(dim) for dim in (384, 1280, 768)] == [12, 16, None]
    assert heads.widths == "one of 384, 1280"


def test_plain_names_are_all_names_of_a_plain_vit() -> None:
    names = list(ViT(CONFIG).state_dict())
    assert all(re.fullmatch(PLAIN_NAMES, name) for name in names)
    for other in ("head.weight", "xnorm.weight", "blocks.0.ls1.gamma", "blocks.0.norm3.weight"):
        assert not re.fullmatch(PLAIN_NAMES, other)
    for other in ("head.0.weight", "head.mlp.0.gamma", "head.last_layer.bias", "xhead.mlp.bias"):
        assert not re.fullmatch(HEAD_NAMES, other)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["patch_embed.proj.weight", "pos_embed"])
def test_what_tells_the_architecture_must_be_there(name: str) -> None:
    keys = keys_of(CONFIG)
    rest: dict[str, Tensor] = {n: t for n, t in keys.tensors.items() if n != f"net.{name}"}
    with pytest.raises(WeightsError, match=f"missing 'net.{name}' among 'net.cls_token'"):
        replace(keys, tensors=rest).infer_config(TWELVE)


@pytest.mark.bad_input
def test_a_width_without_known_heads_is_refused() -> None:
    message = (
        r"dim of 'x.pth' must be one of 384, 768 \(read as a test\), got 24; the number of heads"
    )
    with pytest.raises(WeightsError, match=message):
        keys_of(CONFIG).infer_config(heads_by_width({384: 6, 768: 12}))


@pytest.mark.bad_input
def test_an_impossible_architecture_names_the_file() -> None:
    with pytest.raises(
        WeightsError, match=r"'x.pth' must hold a possible ViT .*, got ViTConfig: dim must"
    ):
        keys_of(CONFIG).infer_config(Heads("any", lambda _: 7))
