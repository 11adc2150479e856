"""The blocks of the vision transformer: residuals, MLPs, what is kept of them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from patchwise.configs.backbone import QKVBias, ViTConfig
from patchwise.models.block import MLP, Block, SwiGLU
from patchwise.models.rotary import RotaryPositions
from patchwise.models.vit import ViT

Redraw = Callable[[nn.Module], None]
CONFIG = ViTConfig(dim=24, depth=3, heads=3, patch_px=4, image_px=16)
EVERYTHING = replace(CONFIG, registers=2, layer_scale=0.1)


def make_vit(config: ViTConfig, redraw: Redraw) -> ViT:
    vit = ViT(config)
    redraw(vit)
    return vit.eval()


def test_the_mlp_has_an_exact_gelu(redraw: Redraw) -> None:
    mlp = make_vit(CONFIG, redraw).last_block.mlp
    assert isinstance(mlp, MLP)
    tokens = torch.randn(2, 5, 24)
    hidden = tokens @ mlp.fc1.weight.T + mlp.fc1.bias
    gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    expected = gelu @ mlp.fc2.weight.T + mlp.fc2.bias
    torch.testing.assert_close(mlp(tokens), expected, atol=1e-5, rtol=0)


def test_a_block_is_two_scaled_residuals(redraw: Redraw) -> None:
    block = make_vit(EVERYTHING, redraw).last_block
    tokens = torch.randn(2, 5, 24)
    middle = tokens + block.attn(block.norm1(tokens)) * block.ls1.gamma
    expected = middle + block.mlp(block.norm2(middle)) * block.ls2.gamma
    torch.testing.assert_close(block(tokens), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_kept_is_made_larger_and_the_rest_left_out(which: int, redraw: Redraw) -> None:
    block = make_vit(CONFIG, redraw).last_block
    block.drop_path = 0.25
    assert isinstance(block.mlp, MLP)
    only = block.mlp.fc2 if which == 0 else block.attn.proj
    nn.init.zeros_(only.weight)
    nn.init.zeros_(only.bias)  # one residual is left
    tokens = torch.randn(5, 5, 24)
    whole = block(tokens) - tokens
    kept = torch.tensor([True, False, True, True, False])
    both = torch.ones(5, 2, dtype=torch.bool)
    both[:, which] = kept
    thinned = block(tokens, both) - tokens
    torch.testing.assert_close(thinned[kept], whole[kept] / 0.75, atol=1e-5, rtol=1e-4)
    assert not thinned[~kept].any()


def test_the_gated_mlp_multiplies_one_half_by_the_silu_of_the_other(redraw: Redraw) -> None:
    config = replace(CONFIG, mlp="swiglu", mlp_ratio=2.0)
    mlp = make_vit(config, redraw).last_block.mlp
    assert isinstance(mlp, SwiGLU)
    assert mlp.w12.weight.shape == (96, 24)
    tokens = torch.randn(2, 5, 24)
    gate = tokens @ mlp.w12.weight[:48].T + mlp.w12.bias[:48]
    value = tokens @ mlp.w12.weight[48:].T + mlp.w12.bias[48:]
    hidden = gate / (1 + torch.exp(-gate)) * value
    expected = hidden @ mlp.w3.weight.T + mlp.w3.bias
    torch.testing.assert_close(mlp(tokens), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_norms_have_the_eps_of_the_configuration(eps: float) -> None:
    block = Block(replace(CONFIG, norm_eps=eps), 0.0)
    assert (block.norm1.eps, block.norm2.eps) == (eps, eps)


@pytest.mark.parametrize(("bias", "names"), [("full", True), ("no_key", True), ("none", False)])
def test_queries_keys_and_values_have_biases_or_not(bias: QKVBias, names: bool) -> None:
    block = Block(replace(CONFIG, qkv_bias=bias), 0.0)
    assert ("attn.qkv.bias" in block.state_dict()) == names


def test_where_patches_lie_is_seen_by_attention(redraw: Redraw) -> None:
    config = replace(CONFIG, positions="rotary")
    block = make_vit(config, redraw).last_block
    rotation = RotaryPositions(8)((3, 4))
    tokens = torch.randn(2, 1 + 12, 24)
    attended = block.attn(block.norm1(tokens), rotation)
    middle = tokens + attended
    expected = middle + block.mlp(block.norm2(middle))
    torch.testing.assert_close(block(tokens, None, rotation), expected)
    assert not torch.allclose(block(tokens, None, rotation), block(tokens), atol=1e-2)
    weights = block.attn.cls_attention(block.norm1(tokens), rotation)
    assert torch.equal(block.cls_attention(tokens, rotation), weights)
