"""DINOv3's backbones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchwise.errors import WeightsError
from patchwise.models.weights.dinov3 import is_dinov3, read_dinov3
from patchwise.models.weights.files import WeightsFile
from tests.models.weights.authors_names import authors_names
from tests.models.weights.published import FAMILIES

Redraw = Callable[[nn.Module], None]
PLAIN, LARGEST = (
    next(family for family in FAMILIES if family.name == name) for name in ("DINOv3", "DINOv3, 7B")
)
MASKS = [f"blocks.{index}.attn.qkv.bias_mask" for index in range(2)]


def file_of(weights: dict[str, Tensor]) -> WeightsFile:
    return WeightsFile(Path("x.pth"), weights)


@pytest.mark.parametrize("gated", [False, True])
@torch.no_grad()
def test_features_are_those_of_hugging_face(gated: bool, redraw: Redraw) -> None:
    """Of its own model, with the weights under the authors' names."""
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        image_size=32,
        patch_size=4,
        num_register_tokens=4,
        use_gated_mlp=gated,
        hidden_act="silu" if gated else "gelu",
    )
    peer = transformers.DINOv3ViTModel(config).eval()
    redraw(peer)
    weights = authors_names(peer.state_dict())
    weights["storage_tokens"] = weights.pop("register_tokens")
    weights["rope_embed.periods"] = 100 ** (torch.arange(8) / 8)
    names = {"gate_proj": "w1", "up_proj": "w2", "down_proj": "w3"}
    if not gated:
        names = {"up_proj": "fc1", "down_proj": "fc2"}
    for name in [name for name in weights if "_proj" in name]:
        *start, layer, kind = name.split(".")
        weights[".".join([*start, names[layer], kind])] = weights.pop(name)
    for name in MASKS:
        weights[name] = torch.cat([torch.ones(64), torch.zeros(64), torch.ones(64)])
    ours = read_dinov3(file_of(weights)).vit
    assert ours.config.qkv_bias == "no_key"
    for rows, columns in ((8, 8), (5, 5), (3, 10)):
        images = torch.randn(2, 3, 4 * rows, 4 * columns)
        theirs = peer(images).last_hidden_state
        assert theirs.abs().mean() > 0.3
        torch.testing.assert_close(ours(images).cls, theirs[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours(images).patches, theirs[:, 5:], atol=1e-5, rtol=0)


def test_a_mask_of_keys_makes_keys_without_bias() -> None:
    backbone = read_dinov3(file_of(PLAIN.mapped)).vit
    assert backbone.config.qkv_bias == "no_key"
    for index in range(2):
        query, key, value = backbone.state_dict()[f"blocks.{index}.attn.qkv.bias"].chunk(3)
        stored = PLAIN.mapped[f"blocks.{index}.attn.qkv.bias"]
        assert not key.any()
        assert torch.equal(torch.cat([query, value]), torch.cat(stored.chunk(3)[::2]))


def test_masks_are_zero_throughout_as_published() -> None:
    zeros = {name: torch.zeros_like(PLAIN.mapped[name]) for name in MASKS}
    ours = read_dinov3(file_of({**PLAIN.mapped, **zeros})).vit
    assert ours.config.qkv_bias == "no_key"
    assert not any(ours.state_dict()[name.removesuffix("_mask")].any() for name in MASKS)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize(
    ("at", "kind"), [(5, "no_key"), (64, "full"), (2 * 64 - 1, "full"), (2 * 64, "no_key")]
)
@torch.no_grad()
def test_any_other_mask_is_multiplied(block: int, at: int, kind: str) -> None:
    mask = PLAIN.mapped[MASKS[block]].clone()
    mask[at] = 0.5
    ours = read_dinov3(file_of({**PLAIN.mapped, MASKS[block]: mask})).vit
    assert ours.config.qkv_bias == kind
    bias = f"blocks.{block}.attn.qkv.bias"
    torch.testing.assert_close(ours.state_dict()[bias], PLAIN.mapped[bias] * mask, rtol=0, atol=0)


def test_without_masks_the_whole_bias_counts() -> None:
    weights = {name: weight for name, weight in PLAIN.mapped.items() if name not in MASKS}
    ours = read_dinov3(file_of(weights)).vit
    assert ours.config.qkv_bias == "full"
    name = "blocks.1.attn.qkv.bias"
    assert torch.equal(ours.state_dict()[name], weights[name])


def test_the_largest_has_no_bias_and_wider_heads() -> None:
    config = read_dinov3(file_of(LARGEST.mapped)).vit.config
    assert (config.qkv_bias, config.heads, config.dim) == ("none", 2, 256)
    assert len(LARGEST.mapped["rope_embed.periods"]) == 32


def test_every_norm_has_the_eps_of_the_hub() -> None:
    backbone = read_dinov3(file_of(PLAIN.mapped)).vit
    norms = [module for module in backbone.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 5
    assert {norm.eps for norm in norms} == {1e-5}


def test_any_mark_makes_it_dinov3() -> None:
    plain = {n: w for n, w in PLAIN.mapped.items() if n.startswith("blocks") and n not in MASKS}
    assert not is_dinov3(file_of(plain))
    for mark in ("storage_tokens", "rope_embed.periods", MASKS[1]):
        assert is_dinov3(file_of({**plain, mark: torch.ones(2)}))


@pytest.mark.bad_input
def test_periods_that_fit_no_heads_are_named() -> None:
    weights = {**PLAIN.mapped, "rope_embed.periods": torch.ones(5)}
    with pytest.raises(
        WeightsError, match=r"a multiple of 20, four for each of 'rope_embed.periods'"
    ):
        read_dinov3(file_of(weights))


@pytest.mark.bad_input
def test_norms_of_their_own_for_cls_are_named() -> None:
    """The authors' code knows them; no published model has them."""
    with pytest.raises(WeightsError, match=r"left over 'cls_norm.weight'$"):
        read_dinov3(file_of({**PLAIN.mapped, "cls_norm.weight": torch.ones(2)}))


@pytest.mark.bad_input
def test_gated_and_plain_layers_do_not_mix() -> None:
    mixed = {n: w for n, w in LARGEST.mapped.items() if not n.startswith("blocks.0.mlp.w")}
    with pytest.raises(WeightsError, match=r"missing 'blocks.0.mlp.w1.weight'"):
        read_dinov3(file_of(mixed))
