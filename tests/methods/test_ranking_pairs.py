"""Cells of similar images: which are kept, and who is compared with whom."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from patchwise.errors import PatchwiseError, RangeError
from patchwise.methods.ranking_pairs import (
    CellPairs,
    Cells,
    choose_cells,
    derangements,
    pool_cells,
    take_cells,
)


def all_kept(student: Tensor, teacher: Tensor) -> Cells:
    return Cells(student, teacher, torch.ones(student.shape[:2], dtype=torch.bool))


def test_cells_are_means_of_patches_view_after_view() -> None:
    maps = torch.randn(2, 3, 4, 6, 5)  # V B H W K
    cells = pool_cells(maps, 2)
    assert cells.shape == (3, 8, 5)
    for image in range(3):
        for view in range(2):
            for row in range(2):
                for column in range(2):
                    part = maps[view, image, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
                    found = cells[image, view * 4 + row * 2 + column]
                    torch.testing.assert_close(found, part.mean(dim=(0, 1)))


def test_at_the_maps_own_size_cells_are_patches() -> None:
    maps = torch.randn(1, 2, 3, 3, 4)
    assert torch.equal(pool_cells(maps, 3), maps[0].flatten(1, 2))


def test_the_cells_with_most_foreground_are_kept() -> None:
    mass = torch.tensor([[0.1, 0.9, 0.3, 0.8], [0.0, 0.0, 1.0, 0.2]])
    chosen = choose_cells(mass, torch.rand(2, 4), 2)
    assert [sorted(row) for row in chosen.tolist()] == [[1, 3], [2, 3]]
    cells = torch.arange(8.0).reshape(2, 4, 1)
    assert torch.equal(take_cells(cells, chosen)[..., 0], cells[..., 0].gather(1, chosen))


def test_between_equal_cells_chance_decides() -> None:
    generator = torch.Generator().manual_seed(0)
    mass = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).expand(3000, 4)
    chosen = choose_cells(mass, torch.rand(3000, 4, generator=generator), 2)
    counts = Counter(tuple(sorted(row)) for row in chosen.tolist())
    assert set(counts) == {(0, 2), (0, 3), (2, 3)}
    assert all(abs(count - 1000) < 130 for count in counts.values())


@pytest.mark.parametrize("images", [2, 3, 4])
def test_derangements_leave_none_in_its_place_and_are_equally_likely(images: int) -> None:
    drawn = derangements(3000, images, 5)
    assert (np.sort(drawn, axis=1) == np.arange(images)).all()
    assert not (drawn == np.arange(images)).any()
    counts = Counter(map(tuple, drawn.tolist()))
    assert len(counts) == {2: 1, 3: 2, 4: 9}[images]
    expected = 3000 / len(counts)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_derangements_follow_from_their_key() -> None:
    assert (derangements(3, 6, 1, 2) == derangements(3, 6, 1, 2)).all()
    assert (derangements(3, 6, 1, 2) != derangements(3, 6, 1, 3)).any()
    assert derangements(5, 1, 0).shape == (0, 1)


def test_pairs_are_cosines_of_all_cells_of_an_image_and_its_partners() -> None:
    a, b, c, d = (torch.randn(3, 2, 4) for _ in range(4))
    strangers = torch.tensor([[1, 2, 0], [2, 0, 1]])
    pairs = CellPairs.compare(all_kept(a, c), all_kept(b, d), strangers)
    assert pairs.prediction.shape == (3 * 2 * 2 * 3,)
    place = 0
    for partner in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
        for image in range(3):
            for cell in range(2):
                for other in range(2):
                    for found, (x, y) in ((pairs.prediction, (a, b)), (pairs.target, (c, d))):
                        expected = F.cosine_similarity(
                            x[image, cell], y[partner[image], other], dim=0
                        )
                        torch.testing.assert_close(found[place], expected)
                    assert bool(pairs.match[place]) == (partner[image] == image)
                    place += 1


def test_only_the_student_learns() -> None:
    student = torch.randn(2, 2, 4, requires_grad=True), torch.randn(2, 2, 4, requires_grad=True)
    teacher = torch.randn(2, 2, 4, requires_grad=True), torch.randn(2, 2, 4)
    images, neighbours = (all_kept(*both) for both in zip(student, teacher, strict=True))
    pairs = CellPairs.compare(images, neighbours, torch.tensor([[1, 0]]))
    assert not pairs.target.requires_grad
    loss: torch.Tensor = F.mse_loss(pairs.prediction, torch.randn(16))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in student)


def test_one_image_alone_has_no_strangers() -> None:
    cells = torch.randn(1, 3, 4)
    strangers = torch.from_numpy(derangements(5, 1, 0))
    pairs = CellPairs.compare(all_kept(cells, cells), all_kept(cells, cells), strangers)
    assert pairs.prediction.shape == (9,)
    assert pairs.match.all()


def test_half_precision_and_cells_of_zero_are_compared_in_float32() -> None:
    cells = torch.zeros(2, 2, 4, dtype=torch.bfloat16)
    both = all_kept(cells, cells)
    pairs = CellPairs.compare(both, both, torch.tensor([[1, 0]]))
    assert pairs.prediction.dtype == torch.float32
    assert pairs.prediction.isfinite().all()


def test_autocast_does_not_round_what_is_ranked() -> None:
    images, neighbours = (all_kept(torch.randn(4, 3, 64), torch.randn(4, 3, 64)) for _ in "ab")
    others = torch.from_numpy(derangements(1, 4, 0))
    exact = CellPairs.compare(images, neighbours, others)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = CellPairs.compare(images, neighbours, others)
    torch.testing.assert_close(pairs.prediction, exact.prediction, rtol=0, atol=1e-6)
    torch.testing.assert_close(pairs.target, exact.target, rtol=0, atol=1e-6)


@pytest.mark.bad_input
def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(RangeError, match="side must be at most that of the map, got 4 for 3 x 5"):
        pool_cells(torch.zeros(1, 1, 3, 5, 2), 4)
    with pytest.raises(PatchwiseError, match=r"count must lie in \[1, 3\], got 4"):
        choose_cells(torch.zeros(1, 3), torch.zeros(1, 3), 4)
    with pytest.raises(PatchwiseError, match="images must be positive, got 0"):
        derangements(2, 0, 1)
