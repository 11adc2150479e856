"""The filter: equal to vectors of its definition, and what must hold of any weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.configs.backbone import ViTConfig
from patchwise.errors import RangeError, ShapeError
from patchwise.models.block import Block
from patchwise.models.object_filter import ObjectFilter

Redraw = Callable[[nn.Module], None]
FIXTURE = Path(__file__).parents[1] / "fixtures" / "cotap.npz"
CONFIG = ViTConfig(dim=24, depth=1, heads=3, patch_px=4, image_px=16)
SCALED = replace(CONFIG, layer_scale=0.1)
NO_KEY_BIAS = replace(SCALED, qkv_bias="no_key", mlp="swiglu")
GRID = (4, 6)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    """Tensors of one small block, in float64."""
    with np.load(FIXTURE) as held:
        return {n[4:]: torch.from_numpy(held[n]) for n in held.files if n.startswith("oaf_")}


def published(vectors: dict[str, Tensor]) -> tuple[ObjectFilter, Block]:
    weights = {name[2:]: w for name, w in vectors.items() if name.startswith("w_")}
    block = Block(CONFIG, drop_path=0.0).double()
    filtering = ObjectFilter(24, len(vectors["prototypes"])).double()
    own = {name: weights.pop(name) for name in list(weights) if "norm_" in name}
    filtering.load_state_dict({**own, "prototypes": vectors["prototypes"]})
    block.load_state_dict(
        {f"mlp.{n}" if n.startswith("fc") else n: weight for n, weight in weights.items()}
    )
    return filtering, block


def make(config: ViTConfig, redraw: Redraw, prototypes: int = 5) -> tuple[ObjectFilter, Block]:
    """Return a filter and a block of redrawn weights, float64."""
    parts = nn.ModuleList([ObjectFilter(config.dim, prototypes), Block(config, drop_path=0.0)])
    redraw(parts)
    filtering, block = parts.double()
    assert isinstance(filtering, ObjectFilter)
    assert isinstance(block, Block)
    return filtering, block


def tokens_of(grid: tuple[int, int] = GRID, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (batch, 1 + grid[0] * grid[1], 24)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def by_loops(  # noqa: C901 - the definition, one number after another
    filtering: ObjectFilter, block: Block, tokens: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Features and attention of one image, head by head and cell by cell."""
    attn, (rows, columns) = block.attn, grid
    prototypes = filtering.norm_in(filtering.prototypes.permute(0, 2, 3, 1))  # [M, 3, 3, D]
    count, head_dim = len(prototypes), 24 // attn.heads
    bias = attn.qkv.bias.detach().clone()
    if type(attn.qkv) is not nn.Linear:
        bias[24:48] = 0  # the keys'

    def part(features: Tensor, which: int) -> Tensor:
        own = slice(24 * which, 24 * (which + 1))
        return F.linear(features, attn.qkv.weight[own], bias[own])

    queries = part(block.norm1(tokens), 0)
    keys, values = part(prototypes, 1), part(prototypes, 2)
    mixed = torch.zeros_like(tokens)
    attention = torch.zeros(attn.heads, rows * columns, count, dtype=tokens.dtype)
    for head in range(attn.heads):
        own = slice(head * head_dim, (head + 1) * head_dim)
        for place in range(-1, rows * columns):
            scores = torch.zeros(count, dtype=tokens.dtype)
            for m in range(count):
                if place < 0:
                    scores[m] = queries[0, own] @ keys[m, :, :, own].mean(dim=(0, 1))
                    continue
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        row, column = place // columns + i, place % columns + j
                        if 0 <= row < rows and 0 <= column < columns:
                            query = queries[1 + row * columns + column, own]
                            scores[m] += query @ keys[m, 1 + i, 1 + j, own]
            weights = (scores / count**0.5).softmax(dim=0)
            mixed[1 + place, own] = weights @ values[:, :, :, own].mean(dim=(1, 2))
            if place >= 0:
                attention[head, place] = weights
    filtered = tokens + block.ls1(attn.proj(mixed)[None])[0]
    filtered = filtered + block.ls2(block.mlp(block.norm2(filtered)[None]))[0]
    both = torch.cat([tokens, filtered], dim=-1)
    cls, patches = filtering.norm_out_cls(both[:1]), filtering.norm_out_patch(both[1:])
    return torch.cat([cls, patches]), attention


def test_it_is_that_of_the_published_system(vectors: dict[str, Tensor]) -> None:
    filtering, block = published(vectors)
    leaving = block(vectors["tokens"])
    cls, patches = filtering(leaving, (5, 5), block)
    found = torch.cat([cls[:, None], patches], dim=1)
    torch.testing.assert_close(found, vectors["output"], rtol=0, atol=1e-12)
    attention = filtering.attention(leaving, (5, 5), block)
    torch.testing.assert_close(attention, vectors["attention"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [CONFIG, SCALED, NO_KEY_BIAS])
@torch.no_grad()
def test_it_is_what_the_definition_says(config: ViTConfig, redraw: Redraw) -> None:
    filtering, block = make(config, redraw)
    tokens = tokens_of()
    cls, patches = filtering(tokens, GRID, block)
    attention = filtering.attention(tokens, GRID, block)
    for image in range(2):
        features, weights = by_loops(filtering, block, tokens[image], GRID)
        torch.testing.assert_close(cls[image], features[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(patches[image], features[1:], rtol=0, atol=1e-12)
        torch.testing.assert_close(attention[image], weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (5, 1), (2, 2), (6, 4)])
@torch.no_grad()
def test_any_grid_will_do(grid: tuple[int, int], redraw: Redraw) -> None:
    filtering, block = make(CONFIG, redraw)
    tokens = tokens_of(grid, batch=1)
    cls, patches = filtering(tokens, grid, block)
    features, _ = by_loops(filtering, block, tokens[0], grid)
    torch.testing.assert_close(torch.cat([cls, patches[0]]), features, rtol=0, atol=1e-12)


def test_attention_sums_to_one_over_prototypes(redraw: Redraw) -> None:
    filtering, block = make(CONFIG, redraw)
    attention = filtering.attention(tokens_of(), GRID, block)
    assert attention.shape == (2, 3, 24, 5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 24, dtype=torch.float64))


@torch.no_grad()
def test_a_patch_sees_its_neighbours_only_and_cls_itself(redraw: Redraw) -> None:
    """Change one patch: the filtered half of its own 3 x 3 neighbourhood changes, and no more."""
    filtering, block = make(CONFIG, redraw)
    tokens = tokens_of(batch=1)
    changed = tokens.clone()
    changed[:, 1 + 1 * 6 + 2, ::2] += 1
    before, after = (filtering(each, GRID, block) for each in (tokens, changed))
    assert torch.equal(before[0], after[0])
    differs = (before[1] != after[1]).any(dim=-1).reshape(GRID)
    expected = torch.zeros(GRID, dtype=torch.bool)
    expected[0:3, 1:4] = True
    assert torch.equal(differs, expected)


@torch.no_grad()
def test_the_order_of_prototypes_does_not_matter(redraw: Redraw) -> None:
    filtering, block = make(CONFIG, redraw)
    tokens = tokens_of()
    before = filtering(tokens, GRID, block)
    filtering.set_prototypes(filtering.prototypes.flip(0))
    for one, other in zip(before, filtering(tokens, GRID, block), strict=True):
        torch.testing.assert_close(one, other)


def test_prototypes_have_no_gradient_and_all_else_has(redraw: Redraw) -> None:
    filtering, block = make(SCALED, redraw)
    tokens = tokens_of().requires_grad_()
    cls, patches = filtering(tokens, GRID, block)
    (cls.square().sum() + patches.pow(3).sum()).backward()
    assert filtering.prototypes.requires_grad
    assert filtering.prototypes.grad is None
    others = dict(filtering.named_parameters())
    del others["prototypes"]
    for name, weight in [*others.items(), *block.named_parameters(), ("tokens", tokens)]:
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_gradients_are_right(redraw: Redraw) -> None:
    filtering, block = make(CONFIG, redraw, prototypes=2)
    tokens = tokens_of((2, 2), batch=1).requires_grad_()
    weights = [filtering.norm_in.weight, block.attn.qkv.bias, block.attn.proj.bias]
    assert torch.autograd.gradcheck(lambda *_: filtering(tokens, (2, 2), block), (tokens, *weights))


@pytest.mark.parametrize("config", [CONFIG, NO_KEY_BIAS])
def test_bfloat16_is_near(config: ViTConfig, redraw: Redraw) -> None:
    filtering, block = make(config, redraw)
    filtering.float(), block.float()
    tokens = tokens_of().float()
    exact = filtering(tokens, GRID, block)
    with torch.autocast("cpu", torch.bfloat16):
        rough = filtering(tokens, GRID, block)
    for one, other in zip(exact, rough, strict=True):
        assert other.float().isfinite().all()
        torch.testing.assert_close(one, other.float(), rtol=0, atol=0.06)
    (rough[0].sum() + rough[1].square().sum()).backward()
    assert block.attn.qkv.weight.grad is not None
    assert block.attn.qkv.weight.grad.isfinite().all()


def test_prototypes_begin_random_with_deviation_1() -> None:
    torch.manual_seed(0)
    prototypes = ObjectFilter(32, 64).prototypes
    assert prototypes.shape == (64, 32, 3, 3)
    assert float(prototypes.detach().std()) == pytest.approx(1, abs=0.02)
    assert float(prototypes.detach().mean()) == pytest.approx(0, abs=0.02)


def test_prototypes_can_be_put_in() -> None:
    filtering = ObjectFilter(8, 3)
    held, new = filtering.prototypes, torch.randn(3, 8, 3, 3)
    filtering.set_prototypes(new)
    assert filtering.prototypes is held  # an optimiser still has it
    assert torch.equal(held, new)


def test_norms_have_an_eps_of_1e_6() -> None:
    """Numbers of spread 1e-3 show the eps: their variance 1e-6 is doubled by it."""
    filtering = ObjectFilter(8, 3)
    for norm in (filtering.norm_in, filtering.norm_out_patch, filtering.norm_out_cls):
        spread = torch.tensor([-1e-3, 1e-3]).repeat(norm.normalized_shape[0] // 2)
        torch.testing.assert_close(norm(spread), spread / 2e-6**0.5, atol=1e-4, rtol=0)


@pytest.mark.bad_input
def test_wrong_prototypes_are_refused() -> None:
    with pytest.raises(RangeError, match="ObjectFilter: prototypes must be positive, got 0"):
        ObjectFilter(8, 0)
    message = r"set_prototypes: prototypes must have shape \(3, 8, 3, 3\), got \(2, 8, 3, 3\)"
    with pytest.raises(ShapeError, match=message):
        ObjectFilter(8, 3).set_prototypes(torch.randn(2, 8, 3, 3))
