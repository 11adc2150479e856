"""Patches are drawn by the image's pixels, and found again in a stream."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from patchwise.eval.drawing import draw_patches, gather_rows, image_keys
from tests.eval.tiny import ColourBlocks

ORDER = (3, 1, 4, 0, 5, 2)
KEYS = np.arange(100, dtype=np.int64) ** 3


def test_keys_follow_the_pixels() -> None:
    images = ColourBlocks(6)
    keys, again = image_keys(images.images), image_keys(images.images)
    shuffled = image_keys(replace(images, order=ORDER).images)
    assert len(set(keys.tolist())) == 6
    assert keys.tolist() == again.tolist()
    assert shuffled.tolist() == keys[list(ORDER)].tolist()


def test_all_patches_come_once_where_there_are_not_more() -> None:
    drawn = draw_patches(KEYS, 4, 1000, 0)
    assert sorted(drawn.tolist()) == list(range(400))
    assert drawn.tolist() != sorted(drawn.tolist())


def test_every_patch_has_the_same_chance() -> None:
    counts = np.zeros((100, 4))
    for seed in range(300):
        drawn = draw_patches(KEYS, 4, 100, seed)
        assert len(set(drawn.tolist())) == 100
        np.add.at(counts.reshape(-1), drawn.numpy(), 1)
    # 300 draws of one in four: 75 each; of images 300, of places 7,500.
    assert abs(counts - 75).max() < 35
    assert abs(counts.sum(axis=1) - 300).max() < 60
    assert abs(counts.sum(axis=0) - 7500).max() < 250


def test_the_order_of_images_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(100)
    first, second = draw_patches(KEYS, 4, 60, 0, 1), draw_patches(KEYS[order], 4, 60, 0, 1)
    image, patch = second // 4, second % 4
    assert (torch.from_numpy(order)[image] * 4 + patch).tolist() == first.tolist()
    assert second.tolist() != first.tolist()


def test_every_number_of_the_key_matters() -> None:
    draws = [draw_patches(KEYS, 4, 60, *key).tolist() for key in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert draws[0] == draws[3]
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_rows_are_found_in_a_stream(batch: int) -> None:
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    draws = [torch.tensor([49, 0, 7, 6, 13]), torch.randperm(50), torch.tensor([6, 6])]
    found = gather_rows(iter(torch.split(rows, batch)), draws)
    for draw, out in zip(draws, found, strict=True):
        assert torch.equal(out, rows[draw])
