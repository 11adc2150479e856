"""Rotary positions: what they tell, and to whom."""

import math

import pytest
import torch

from patchwise.models.rotary import RotaryPositions


def test_each_channel_turns_by_the_place_of_its_patch() -> None:
    """By hand, for heads of 8 channels: 2 periods, of 1 and 10."""
    grid = (2, 3)
    rotation = RotaryPositions(8)(grid)
    heads = torch.randn(1, 1, 6, 8)
    turned = rotation.turn(heads)
    for row in range(2):
        for column in range(3):
            places = [(2 * row + 1) / 2 - 1, (2 * column + 1) / 3 - 1]
            angles = [2 * math.pi * place / period for place in places for period in (1, 10)]
            before, after = heads[0, 0, row * 3 + column], turned[0, 0, row * 3 + column]
            for channel, angle in enumerate(angles):
                x, y = float(before[channel]), float(before[channel + 4])
                expected = x * math.cos(angle) - y * math.sin(angle)
                assert float(after[channel]) == pytest.approx(expected, abs=1e-5)
                expected = y * math.cos(angle) + x * math.sin(angle)
                assert float(after[channel + 4]) == pytest.approx(expected, abs=1e-5)


def test_tokens_before_the_patches_are_not_turned() -> None:
    rotation = RotaryPositions(8)((2, 2))
    heads = torch.randn(2, 3, 5 + 4, 8)
    turned = rotation.turn(heads)
    assert torch.equal(turned[:, :, :5], heads[:, :, :5])
    assert (turned[:, :, 5:] != heads[:, :, 5:]).all()


def test_only_how_far_apart_patches_lie_counts() -> None:
    """The product of two patches of the same content is that of two others as far apart."""
    rotation = RotaryPositions(16)((4, 4))
    query, key = (torch.randn(16).expand(1, 1, 16, 16) for _ in range(2))
    products = (rotation.turn(query) @ rotation.turn(key).mT)[0, 0].reshape(4, 4, 4, 4)
    torch.testing.assert_close(products[0, 0, 1, 2], products[2, 1, 3, 3], atol=1e-4, rtol=0)
    torch.testing.assert_close(products[3, 2, 1, 1], products[2, 3, 0, 2], atol=1e-4, rtol=0)
    assert not torch.allclose(products[0, 0, 1, 2], products[0, 0, 2, 1], atol=1e-2)


def test_the_periods_are_stored_and_used() -> None:
    positions = RotaryPositions(64)
    assert list(positions.state_dict()) == ["periods"]
    expected = [100 ** (i / 16) for i in range(16)]
    torch.testing.assert_close(positions.periods, torch.tensor(expected))
    before = positions((3, 3)).cos
    positions.periods.mul_(1.5)
    assert not torch.allclose(positions((3, 3)).cos, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_heads_keep_their_precision(dtype: torch.dtype) -> None:
    positions = RotaryPositions(8).to(dtype)
    rotation = positions((2, 2))
    assert rotation.cos.dtype == torch.promote_types(dtype, torch.float32)
    heads = torch.randn(1, 2, 5, 8, dtype=dtype)
    turned = rotation.turn(heads)
    assert turned.dtype == dtype
    torch.testing.assert_close(turned.norm(dim=-1), heads.norm(dim=-1), rtol=0.02, atol=0)
