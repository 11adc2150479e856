"""Heads against their definition in plain operations."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from patchwise.eval.heads import (
    LinearHead,
    NormalisedHead,
    UpsampleBlock,
    UpsamplingHead,
    draw_head,
)

DRAW = torch.Generator().manual_seed(0)
FEATURES = torch.randn(3, 4, 5, 6, generator=DRAW)  # [B, h, w, D]


def upsampling(dropout: float = 0.1) -> UpsamplingHead:
    torch.manual_seed(0)
    head = UpsamplingHead(6, 4, widths=(8, 4, 2), dropout=dropout, seed=3)
    for norm in head.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias)
    return head


def normalised(maps: Tensor, norm: nn.Module) -> Tensor:
    """Batch normalisation in training, by hand."""
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), correction=0)
    scaled = (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


def by_hand(maps: Tensor, block: nn.Module) -> Tensor:
    """A block by the sentences of its docstring."""
    assert isinstance(block, UpsampleBlock)
    half = torch.einsum("bdhw,ed->behw", maps, block.narrow.weight[:, :, 0, 0])
    hidden = normalised(half, block.norm).clamp(min=0)
    all_channels = F.conv2d(F.pad(hidden, (1, 1, 1, 1)), block.widen.weight)
    added = (maps + normalised(all_channels, block.wide_norm)).clamp(min=0)
    changed = torch.einsum("bdhw,ed->behw", added, block.out.weight[:, :, 0, 0])
    assert block.out.bias is not None
    changed = changed + block.out.bias[:, None, None]
    return F.interpolate(changed, scale_factor=2, mode="bilinear", align_corners=False)


def test_a_linear_head_is_one_product_at_every_place() -> None:
    head = LinearHead(6, 4)
    expected = torch.einsum("bhwd,kd->bkhw", FEATURES, head.linear.weight)
    torch.testing.assert_close(head(FEATURES), expected + head.linear.bias[:, None, None])


def test_a_normalised_head_is_normalisation_and_a_product() -> None:
    head = NormalisedHead(6, 4).train()
    unit = normalised(FEATURES.movedim(-1, 1), head.norm)
    expected = torch.einsum("bdhw,kd->bkhw", unit, head.linear.weight[:, :, 0, 0])
    torch.testing.assert_close(head(FEATURES), expected)
    assert head.linear.weight.std() < 0.02  # small at first, and no offset
    assert head.linear.bias is not None
    assert not head.linear.bias.any()


def test_a_block_is_what_its_docstring_says() -> None:
    block = upsampling().blocks.train()[0]
    assert isinstance(block, UpsampleBlock)
    maps = FEATURES.movedim(-1, 1)
    torch.testing.assert_close(block(maps), by_hand(maps, block))
    assert [tuple(p.shape) for p in block.parameters()] == [
        (3, 6, 1, 1), (3,), (3,), (6, 3, 3, 3), (6,), (6,), (8, 6, 1, 1), (8,),
    ]  # fmt: skip


def test_the_upsampling_head_is_its_blocks_and_a_convolution() -> None:
    head = upsampling(dropout=0.0).train()
    maps = FEATURES.movedim(-1, 1)
    for block in head.blocks:
        maps = by_hand(maps, block)
    scores = head(FEATURES)
    assert scores.shape == (3, 4, 32, 40)
    torch.testing.assert_close(scores, head.linear(maps))


def test_dropout_keeps_the_mean_and_drops_its_share_of_single_values() -> None:
    head = upsampling(dropout=0.25).train()
    ones = torch.ones(4, 50, 20, 20)
    dropped = head._drop(ones)
    assert torch.unique(dropped).tolist() == [0.0, pytest.approx(4 / 3)]
    assert abs(float(dropped.mean()) - 1) < 0.02
    by_place = (dropped == 0).float().mean(dim=1)
    assert 0.05 < by_place.min() < by_place.max() < 0.6  # not whole channels, nor whole places
    assert not torch.equal(head._drop(ones), dropped)


def test_dropout_is_for_training_and_leaves_the_default_generator_alone() -> None:
    state = torch.random.get_rng_state()
    head = upsampling().train()
    torch.random.set_rng_state(state)
    first = head(FEATURES)
    again = upsampling().train()(FEATURES)
    torch.random.set_rng_state(state)
    assert torch.equal(first, again)
    head.eval()
    assert torch.equal(head(FEATURES), head(FEATURES))
    head.train()(FEATURES)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_follow_from_the_key_and_nothing_else_is_drawn() -> None:
    cpu = torch.device("cpu")
    state = torch.random.get_rng_state()
    heads = [draw_head(lambda: LinearHead(6, 4), seed, 2, device=cpu) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [head.linear.weight for head in heads]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
