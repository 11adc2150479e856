"""Attention maps: flat where attention is flat, on one scale, at the right place."""

import dataclasses

import numpy as np
import torch

from patchwise.pictures.attention import attention_figure, overlay, relative_attention
from patchwise.pictures.gallery import Seen
from tests.pictures.galleries import gallery, seen


def even() -> Seen:
    return dataclasses.replace(seen(), attention=torch.full((6, 2, 16), 0.9 / 16))


def test_even_attention_is_1_everywhere_whatever_cls_keeps() -> None:
    torch.testing.assert_close(relative_attention(even().attention), torch.ones(6, 2, 16))


def test_a_constant_map_is_drawn_flat() -> None:
    flat = dataclasses.replace(gallery(), images=np.full((6, 32, 32, 3), 90, dtype=np.uint8))
    figure = attention_figure(flat, even(), even())
    for row in figure.rows:
        for tile in row.tiles[1:]:
            assert np.ptp(tile.pixels.reshape(-1, 3), axis=0).max() == 0
    assert "100% of the patches before and 100% after" in figure.caption


def test_one_patch_that_gets_all_is_light_and_the_others_dark() -> None:
    values = np.zeros((4, 4))
    values[1, 2] = 1
    drawn = overlay(np.full((32, 32, 3), 90, dtype=np.uint8), values).astype(int)
    cell = len(drawn) // 4
    light = drawn.sum(axis=2) > 400
    assert light[cell : 2 * cell, 2 * cell : 3 * cell].all()
    assert light.sum() == cell * cell


def test_concentration_is_told() -> None:
    one = torch.zeros(6, 2, 16)
    one[..., 3] = 0.5
    figure = attention_figure(gallery(), even(), dataclasses.replace(seen(), attention=one))
    assert "100% of the patches before and 6% after" in figure.caption  # 1 of 16


def test_all_maps_share_one_scale() -> None:
    """The same attention looks the same, whatever stands beside it."""
    figure = attention_figure(gallery(), seen(seed=1), seen(seed=1))
    for before, after in zip(figure.rows[::2], figure.rows[1::2], strict=True):
        for tile, same in zip(before.tiles, after.tiles, strict=True):
            assert (tile.pixels == same.pixels).all()
    assert figure.scale is not None
    assert float(figure.scale.high) >= 2


def test_the_mean_of_every_map_is_1() -> None:
    relative = relative_attention(0.3 * seen().attention)
    torch.testing.assert_close(relative.mean(dim=-1), torch.ones(6, 2))


def test_the_figure_shows_attention_where_it_is() -> None:
    one = torch.zeros(6, 2, 16)
    one[..., 6] = 1  # row 1, column 2 of 4
    grey = dataclasses.replace(gallery(), images=np.full((6, 32, 32, 3), 90, dtype=np.uint8))
    figure = attention_figure(grey, even(), dataclasses.replace(seen(), attention=one))
    for tile in figure.rows[1].tiles[1:]:
        cell = len(tile.pixels) // 4
        light = np.argwhere(tile.pixels.astype(int).sum(axis=2) > 400) // cell
        assert {(int(row), int(column)) for row, column in light} == {(1, 2)}
