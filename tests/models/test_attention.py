"""Attention, whichever way it is computed."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.configs.backbone import QKVBias
from patchwise.models.attention import Attention
from patchwise.models.rotary import RotaryPositions


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(3)
    module = Attention(24, heads=3)
    torch.nn.init.normal_(module.qkv.weight, std=0.5)
    torch.nn.init.normal_(module.qkv.bias)
    return module


def weights_by_hand(attention: Attention, tokens: Tensor, image: int, head: int) -> Tensor:
    """Softmax over keys of one image and head [T, T], from rows of the weights."""
    dim = tokens.shape[-1]
    width = dim // attention.heads
    rows = slice(head * width, (head + 1) * width)
    weight, bias = attention.qkv.weight.double(), attention.qkv.bias.double()
    x = tokens[image].double()
    query = x @ weight[:dim][rows].T + bias[:dim][rows]
    key = x @ weight[dim : 2 * dim][rows].T + bias[dim : 2 * dim][rows]
    scores = query @ key.T / width**0.5
    weights: Tensor = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    return weights


def test_output_is_the_projected_weighted_mean_of_values(attention: Attention) -> None:
    tokens = torch.randn(2, 5, 24)
    dim, width = 24, 8
    value = tokens @ attention.qkv.weight[2 * dim :].T + attention.qkv.bias[2 * dim :]
    for image in range(2):
        mixed = torch.cat(
            [
                weights_by_hand(attention, tokens, image, head).float()
                @ value[image, :, head * width : (head + 1) * width]
                for head in range(3)
            ],
            dim=1,
        )
        torch.testing.assert_close(
            attention(tokens)[image], attention.proj(mixed), atol=1e-5, rtol=0
        )


def test_cls_attention_is_the_first_row_of_the_softmax(attention: Attention) -> None:
    tokens = torch.randn(2, 7, 24)
    rows = attention.cls_attention(tokens)
    assert rows.shape == (2, 3, 7)
    for image in range(2):
        for head in range(3):
            by_hand = weights_by_hand(attention, tokens, image, head)[0].float()
            torch.testing.assert_close(rows[image, head], by_hand, atol=1e-6, rtol=0)


def test_cls_attention_is_float32_whatever_the_weights_are(attention: Attention) -> None:
    tokens = torch.randn(2, 7, 24)
    half = attention.to(torch.bfloat16).cls_attention(tokens.to(torch.bfloat16))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.sum(dim=-1), torch.ones(2, 3))


def test_training_in_bfloat16_is_near_float32(attention: Attention) -> None:
    """Here the products are taken one by one; outputs and gradients stay those of the formula."""
    tokens = torch.randn(4, 65, 24, requires_grad=True)
    results = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = attention(tokens)
        (gradient,) = torch.autograd.grad(out.float().square().sum(), tokens)
        results.append((out.float(), gradient))
    (out, gradient), (half_out, half_gradient) = results
    assert (out - half_out).norm() < 0.02 * out.norm()
    assert (gradient - half_gradient).norm() < 0.03 * gradient.norm()


@pytest.mark.parametrize(
    ("dtype", "count", "trains", "fused"),
    [
        (torch.bfloat16, 65, True, False),
        (torch.bfloat16, 640, True, False),
        (torch.bfloat16, 641, True, True),
        (torch.bfloat16, 65, False, True),
        (torch.float32, 65, True, True),
    ],
)
def test_the_fused_kernel_is_used_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch,
    attention: Attention,
    dtype: torch.dtype,
    count: int,
    trains: bool,
    fused: bool,
) -> None:
    calls = 0
    original = F.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return original(query, key, value)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    with torch.set_grad_enabled(trains):
        attention.to(dtype)(torch.randn(1, count, 24, dtype=dtype))
    assert calls == int(fused)


def test_turned_queries_meet_turned_keys(attention: Attention) -> None:
    rotation = RotaryPositions(8)((2, 3))
    tokens = torch.randn(2, 1 + 6, 24)
    query, key, value = attention.project(tokens)
    query, key = rotation.turn(query), rotation.turn(key)
    weights = (query @ key.mT / 8**0.5).softmax(dim=-1)
    expected = attention.proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(tokens, rotation), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(attention.cls_attention(tokens, rotation), weights[:, :, 0])


def test_keys_may_go_without_their_bias() -> None:
    torch.manual_seed(3)
    full, without = Attention(24, heads=3), Attention(24, heads=3, bias="no_key")
    torch.nn.init.normal_(full.qkv.bias)
    without.load_state_dict(full.state_dict())
    tokens = torch.randn(2, 5, 24)
    rotation = RotaryPositions(8)((2, 2))  # it makes the keys' bias matter
    assert not torch.allclose(full(tokens, rotation), without(tokens, rotation), atol=1e-3)
    without(tokens, rotation).sum().backward()
    assert without.qkv.bias.grad is not None
    assert not without.qkv.bias.grad[24:48].any()
    with torch.no_grad():
        full.qkv.bias[24:48] = 0
    torch.testing.assert_close(full(tokens, rotation), without(tokens, rotation))


@pytest.mark.parametrize("bias", ["full", "no_key", "none"])
def test_parts_of_the_projection_are_those_of_the_whole(bias: QKVBias) -> None:
    module = Attention(24, heads=3, bias=bias)
    if module.qkv.bias is not None:
        torch.nn.init.normal_(module.qkv.bias)
    tokens = torch.randn(2, 5, 24)
    whole = [part.transpose(1, 2).flatten(2) for part in module.project(tokens)]
    parts = [module.queries(tokens), *module.keys_and_values(tokens)]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)
