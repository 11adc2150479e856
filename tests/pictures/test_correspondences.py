"""Correspondences: the right patch, the right cosine, marks at the right place."""

import dataclasses

import numpy as np
import pytest
import torch

from patchwise.ops.foreground import foreground_mask
from patchwise.pictures import correspondences as module
from patchwise.pictures.colours import PALETTE
from patchwise.pictures.correspondences import (
    best_matches,
    choose_places,
    correspondences_figure,
)
from patchwise.pictures.drawing import Pixels
from patchwise.pictures.gallery import Gallery, Seen
from tests.pictures.galleries import gallery, seen

HOW = "Drawn by chance."


def pairs(shown: int = 2) -> Gallery:
    """Images 0, 1, 2 and their neighbours 3, 4, 5."""
    return dataclasses.replace(gallery(shown=shown), categories=None)


def shuffled(seed: int) -> tuple[Seen, torch.Tensor]:
    """Neighbours that hold each image's own features in another order: what must be found."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 16, 24, generator=generator)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in range(3)])
    neighbours = torch.empty_like(images)
    for image in range(3):
        neighbours[image, order[image]] = 2 * images[image]
    return dataclasses.replace(seen(), patches=torch.cat([images, neighbours])), order


def test_each_patch_finds_itself_in_its_own_neighbour() -> None:
    state, order = shuffled(0)
    found = best_matches(state.patches)
    assert torch.equal(found.patch, order)
    torch.testing.assert_close(found.cosine, torch.ones(3, 16))


def test_cosines_are_those_of_the_definition() -> None:
    patches = seen(seed=4).patches
    found = best_matches(patches)
    every = []
    for image in range(3):
        for patch in range(16):
            own = patches[image, patch]
            cosines = [float(own @ o / (own.norm() * o.norm())) for o in patches[3 + image]]
            assert int(found.patch[image, patch]) == int(np.argmax(cosines))
            assert float(found.cosine[image, patch]) == pytest.approx(max(cosines), abs=1e-5)
            every += cosines
    assert found.overall == pytest.approx(float(np.mean(every)), abs=1e-5)


def test_marks_stand_on_the_places_and_their_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[list[tuple[str, str, int]]] = []

    def look(pixels: Pixels, at: tuple[float, float], text: str, colour: str, _: int) -> Pixels:
        row, column = (int(at[0] * 4 // len(pixels)), int(at[1] * 4 // pixels.shape[1]))
        assert at == pytest.approx((90 * row + 45, 90 * column + 45))
        marked[-1].append((text, colour, 4 * row + column))
        return pixels

    def enlarge(pixels: Pixels, height: int, width: int) -> Pixels:
        marked.append([])
        return np.zeros((height, width, 3), dtype=np.uint8)

    monkeypatch.setattr(module, "tag", look)
    monkeypatch.setattr(module, "resize", enlarge)
    before, first = shuffled(1)
    after, second = shuffled(2)
    correspondences_figure(pairs(), before, after, how=HOW, seed=0)
    assert len(marked) == 6, "an image, and its neighbour before and after, of two pairs"
    for pair in range(2):
        image, *neighbours = marked[3 * pair : 3 * pair + 3]
        assert [text for text, _, _ in image] == [str(n + 1) for n in range(len(image))]
        assert [colour for _, colour, _ in image] == list(PALETTE[1 : 1 + len(image)])
        places = [patch for _, _, patch in image]
        assert places == sorted(set(places))
        for marks, order in zip(neighbours, (first, second), strict=True):
            assert [m[:2] for m in marks] == [m[:2] for m in image]
            assert [patch for _, _, patch in marks] == order[pair, places].tolist()


def test_numbers_on_one_patch_share_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def look(pixels: Pixels, at: object, text: str, *_: object) -> Pixels:
        texts.append(text)
        return pixels

    monkeypatch.setattr(module, "tag", look)
    one = torch.randn(6, 16, 8, generator=torch.Generator().manual_seed(0))
    one[3:] = -one[:3].mean(dim=1, keepdim=True)
    one[3:, 5] = one[:3].mean(dim=1)
    one[:3] = one[:3].mean(dim=1, keepdim=True)
    state = dataclasses.replace(seen(), patches=one)
    correspondences_figure(pairs(1), state, state, how=HOW, seed=0)
    count = (len(texts) - 2) or 1
    assert texts == [*map(str, range(1, count + 1)), *[",".join(map(str, range(1, count + 1)))] * 2]
    assert count > 1


def test_the_numbers_are_those_of_the_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a neighbour and in the caption: of its own state, of foreground patches."""
    before, after = seen(seed=1), seen(seed=2)

    def mask(attention: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        assert attention is before.attention
        return (torch.arange(16) == 5).expand(6, -1)

    monkeypatch.setattr(module, "foreground_mask", mask)
    figure = correspondences_figure(pairs(3), before, after, how=HOW, seed=0)
    found = best_matches(before.patches), best_matches(after.patches)
    for pair, row in enumerate(figure.rows):
        assert row.label == f"image {pair} and image {3 + pair}"
        for tile, state, matches in zip(row.tiles[1:], ("before", "after"), found, strict=True):
            assert tile.label == f"neighbour {state}; 1:\u00a0{float(matches.cosine[pair, 5]):.2f}"
    means = [f"{float(m.cosine[:, 5].mean()):.2f}" for m in found]
    overall = [f"{m.overall:.2f}" for m in found]
    assert (
        f"matches is {means[0]} before, where that of any two patches is {overall[0]}, and "
        f"{means[1]} after, where that of any two patches is {overall[1]}." in figure.caption
    )
    same = float((found[0].patch[:, 5] == found[1].patch[:, 5]).float().mean())
    assert f"{same:.0%} of places have the same match" in figure.caption
    assert "Means are over 3 such patches of 3 pairs. Drawn by chance." in figure.facts


def test_places_are_foreground_apart_and_drawn() -> None:
    foreground = torch.rand(144, generator=torch.Generator().manual_seed(0)) < 0.5
    drawn = [choose_places(foreground, (12, 12), seed=s, pair=0) for s in range(6)]
    for places in drawn:
        assert len(places) == 6
        assert foreground[places].all()
        assert places.tolist() == sorted(places.tolist())
        points = torch.stack([places // 12, places % 12], dim=1).double()
        assert float(torch.pdist(points).min()) >= 3
    assert len({tuple(places.tolist()) for places in drawn}) > 4
    assert drawn[0].tolist() != choose_places(foreground, (12, 12), seed=0, pair=1).tolist()
    assert drawn[0].tolist() == choose_places(foreground, (12, 12), seed=0, pair=0).tolist()


def test_little_foreground_gives_fewer_places_or_nearer_ones() -> None:
    few = torch.zeros(144, dtype=torch.bool)
    few[[30, 31, 32, 33]] = True
    assert choose_places(few, (12, 12), seed=0, pair=0).tolist() == [30, 31, 32, 33]
    few[:] = False
    few[100] = True
    assert choose_places(few, (12, 12), seed=0, pair=0).tolist() == [100]
    near = torch.zeros(144, dtype=torch.bool)
    near[:12] = True
    assert len(choose_places(near, (12, 12), seed=0, pair=0)) == 6


def test_the_share_of_right_matches_is_told_where_categories_are_known() -> None:
    """Each finds itself before; after, all find the neighbour's last patch."""
    before, order = shuffled(3)
    wrong = before.patches.clone()
    wrong[3:, :15] = -wrong[:3].mean(dim=1, keepdim=True)
    wrong[3:, 15] = wrong[:3].mean(dim=1)
    wrong[:3] = wrong[:3].mean(dim=1, keepdim=True)
    after = dataclasses.replace(before, patches=wrong)
    first = torch.tensor([1, 2, 0, 3] * 4).expand(3, -1)
    second = torch.zeros(3, 16, dtype=torch.int64).scatter(1, order, first)
    second = torch.where(second == 3, 0, second)  # nothing to be found there
    second[:, 15] = 2
    shown = dataclasses.replace(pairs(), categories=torch.cat([first, second]))
    everywhere = torch.full((6, 2, 16), 1 / 16)
    before = dataclasses.replace(before, attention=everywhere)
    words = correspondences_figure(shown, before, after, how=HOW, seed=0).caption
    mask = foreground_mask(everywhere, (4, 4))[:3]
    asked = mask & ((first == 1) | (first == 2))
    found = best_matches(before.patches).patch
    right = second.gather(1, found) == first
    assert f"{float(right[asked].float().mean()):.0%} are matched with it before" in words
    assert f"and {float((first == 2)[asked].float().mean()):.0%} after." in words
    none = dataclasses.replace(pairs(), categories=torch.zeros(6, 16, dtype=torch.int64))
    assert "categories" not in correspondences_figure(none, before, after, how=HOW, seed=0).caption
