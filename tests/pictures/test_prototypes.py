"""Prototypes: in the order of their use, beside the images that read them most."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from patchwise.pictures.colours import PALETTE, rgb
from patchwise.pictures.gallery import Gallery
from patchwise.pictures.prototypes import (
    most_used,
    prototype_maps_figure,
    prototypes_figure,
    strongest_shares,
)
from tests.pictures.galleries import gallery

GRID = (4, 4)


def grey() -> Gallery:
    return dataclasses.replace(gallery(), images=np.full((6, 32, 32, 3), 90, dtype=np.uint8))


def weights(prototypes: int = 20, sharp: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 16, prototypes, generator=generator) + torch.arange(prototypes) / 10
    return (sharp * scores).softmax(dim=-1)


def test_shares_are_those_of_the_patches() -> None:
    given = torch.zeros(6, 16, 3)
    given[..., 1] = 0.4
    given[:3, :, 2] = 0.5
    given[0, 0, 0] = 0.9
    assert strongest_shares(given).tolist() == pytest.approx([1 / 96, 48 / 96, 47 / 96])


def test_the_order_is_that_of_patches_and_then_of_weight() -> None:
    given = torch.zeros(6, 16, 4)
    given[..., 1] = 0.6
    given[..., 3] = 0.3
    given[..., 0] = 0.1
    assert most_used(given) == [1, 3, 0, 2]
    given[0, :, 2] = 0.7  # of 16 patches the most read one, but of less weight
    assert most_used(given) == [1, 2, 3, 0]


def test_each_row_shows_the_images_that_read_it_most() -> None:
    given = weights()
    figure = prototypes_figure(gallery(), given, GRID)
    assert len(figure.rows) == 12
    order = sorted(
        range(20),
        key=lambda m: (-float(strongest_shares(given)[m]), -float(given[..., m].mean())),
    )
    for row, prototype in zip(figure.rows, order, strict=False):
        share, mean = strongest_shares(given)[prototype], given[..., prototype].mean()
        assert row.label.startswith(
            f"Prototype {prototype + 1}: most read by {share:.1%} of patches, {mean:.1%} of all"
        )
        peaks = sorted((-float(given[i, :, prototype].max()), i) for i in range(6))[:4]
        assert [tile.label for tile in row.tiles[1::2]] == [f"{-peak:.2f}" for peak, _ in peaks]
        assert [tile.alt for tile in row.tiles[::2]] == [f"The image image {i}." for _, i in peaks]


def test_heat_lies_on_the_patches_that_read_it() -> None:
    """One patch of an image has all: it is light; another reads half as much, and is darker."""
    given = torch.full((6, 16, 3), 0.0)
    given[..., 0] = 1.0
    given[2, 6] = torch.tensor([0.2, 0.8, 0.0])
    given[4, 9] = torch.tensor([0.6, 0.4, 0.0])
    row = prototypes_figure(grey(), given, GRID).rows[1]
    assert row.label.startswith("Prototype 2")
    assert [tile.label for tile in row.tiles[1:4:2]] == ["0.80", "0.40"]
    light = []
    for tile, patch in ((row.tiles[1], 6), (row.tiles[3], 9)):
        cells = tile.pixels.astype(int).sum(axis=2).reshape(4, 40, 4, 40).mean(axis=(1, 3))
        light.append(cells.max())
        assert cells.argmax() == patch
        assert sorted(cells.flatten())[-2] < 120
    assert light[0] > light[1] + 100, "one scale for a row"


def test_how_many_prototypes_are_read_is_told() -> None:
    even = torch.full((6, 16, 5), 0.2)
    words = prototypes_figure(gallery(), even, GRID).caption
    assert "reads about 5 prototypes, all patches together about 5 of 5, and 1 are" in words
    single = torch.eye(5)[torch.arange(96) % 4].view(6, 16, 5)
    words = prototypes_figure(gallery(), single, GRID).caption
    assert "reads about 1 prototypes, all patches together about 4 of 5, and 4 are" in words
    mixed = weights(5)
    entropy = -(mixed * mixed.log()).sum(dim=-1)
    use = mixed.mean(dim=(0, 1))
    told = f"about {entropy.exp().mean():.0f} prototypes, all patches together about "
    told += f"{math.exp(-float((use * use.log()).sum())):.0f} of 5"
    assert told in prototypes_figure(gallery(), mixed, GRID).caption


def test_a_prototype_of_a_place_is_known_by_it() -> None:
    given = torch.full((6, 16, 2), 0.5)
    given[:, :4] = torch.tensor([0.1, 0.9])  # the first row of all images
    rows = prototypes_figure(gallery(), given, GRID).rows
    assert all("its place explains 100%" in row.label for row in rows)
    mixed = torch.cat([0.5 * weights(2), 0.5 * given[..., :1]], dim=-1)
    for row in prototypes_figure(gallery(), mixed, GRID).rows:
        by_place = "its place explains 100%" in row.label
        assert by_place == row.label.startswith("Prototype 3")


def test_patches_have_the_colour_of_what_they_read_most() -> None:
    given = weights(12)
    shares = strongest_shares(given)
    figure = prototype_maps_figure(gallery(), given, GRID)
    order = most_used(given)
    named = dict(zip(order[:7], PALETTE[1:], strict=True))
    assert [swatch.colour for swatch in figure.swatches] == [*named.values(), PALETTE[0]]
    told = [f"prototype {p + 1}: {float(shares[p]):.0%}" for p in named]
    told.append(f"any other: {1 - float(shares[list(named)].sum()):.0%}")
    assert [swatch.meaning for swatch in figure.swatches] == told
    assert len(figure.rows) == gallery().shown
    for image, row in enumerate(figure.rows):
        cell = len(row.tiles[1].pixels) // 4
        centres = row.tiles[1].pixels[cell // 2 :: cell, cell // 2 :: cell].reshape(-1, 3)
        for patch, colour in enumerate(centres.tolist()):
            strongest = int(given[image, patch].argmax())
            assert tuple(colour) == rgb(named.get(strongest, PALETTE[0]))


def test_the_weight_of_what_is_most_read_is_shown() -> None:
    given = torch.full((6, 16, 3), 0.25)
    given[..., 0] = 0.5
    given[0, 5] = torch.tensor([0.0, 1.0, 0.0])
    tile = prototype_maps_figure(gallery(), given, GRID).rows[0].tiles[2]
    cell = len(tile.pixels) // 4
    light = tile.pixels[cell // 2 :: cell, cell // 2 :: cell].astype(int).sum(axis=2)
    assert light.argmax() == 5
    assert tuple(tile.pixels[cell + 1, cell + 1]) == rgb("#fcffa4")
    assert tile.alt == "With what weight: from 0.50 to 1.00."


def test_few_prototypes_and_one_that_is_all() -> None:
    only = torch.zeros(6, 16, 2)
    only[..., 1] = 1
    figure = prototype_maps_figure(gallery(), only, GRID)
    assert [swatch.meaning for swatch in figure.swatches] == ["prototype 2: 100%"]
    rows = prototypes_figure(gallery(), only, GRID).rows
    assert [row.label.split(":")[0] for row in rows] == ["Prototype 2", "Prototype 1"]
