"""Foreground: as in the published code, and by its definition."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwise.errors import RangeError, ShapeError
from patchwise.ops.foreground import foreground_mask

VECTORS = np.load(Path(__file__).parents[1] / "fixtures" / "cotap.npz")


def attention(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, 2, 30, generator=torch.Generator().manual_seed(seed)) ** 4


def test_masks_are_those_of_the_published_code() -> None:
    found = foreground_mask(torch.from_numpy(VECTORS["fgmask_attn"]), (14, 14))
    assert torch.equal(found, torch.from_numpy(VECTORS["fgmask_mask"]).flatten(1))


def test_all_of_the_mass_is_all_that_has_any() -> None:
    assert foreground_mask(attention() + 0.1, (5, 6), mass_frac=1.0).all()


def test_more_mass_adds_patches_and_takes_none_away() -> None:
    masks = [foreground_mask(attention(), (5, 6), mass_frac=frac) for frac in (0.1, 0.5, 0.9)]
    for less, more in itertools.pairwise(masks):
        assert (more | ~less).all()
        assert (more.sum(dim=1) > less.sum(dim=1)).all()


def test_only_proportions_count() -> None:
    weights = attention()
    assert torch.equal(foreground_mask(weights, (5, 6)), foreground_mask(0.01 * weights, (5, 6)))


def test_the_grid_says_which_patches_are_neighbours() -> None:
    weights = torch.zeros(1, 1, 30)
    weights[0, 0, 14] = 1.0  # row 2, column 2 of 5 x 6
    shown = foreground_mask(weights, (5, 6), mass_frac=0.95).nonzero()[:, 1].tolist()
    assert {14, 13, 15, 8, 20} <= set(shown)
    assert 12 not in shown


def test_nothing_seen_is_one_patch() -> None:
    assert foreground_mask(torch.zeros(2, 1, 4), (2, 2)).sum(dim=1).tolist() == [1, 1]


@pytest.mark.bad_input
def test_what_is_no_attention_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"attention must have shape \(any, any, 20\)"):
        foreground_mask(attention(), (4, 5))
    negative = attention()
    negative[0, 0, 0] = -1.0
    with pytest.raises(RangeError, match="must be finite and not negative, got 1 of 180"):
        foreground_mask(negative, (5, 6))
    with pytest.raises(RangeError, match="mass_frac must be positive"):
        foreground_mask(attention(), (5, 6), mass_frac=0.0)
    with pytest.raises(RangeError, match="mass_frac must lie in"):
        foreground_mask(attention(), (5, 6), mass_frac=1.1)
