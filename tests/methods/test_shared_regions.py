"""Which crops are compared, where, and with what weight."""

import pytest
import torch
from torch import Tensor

from patchwise.augment.crop import Crops
from patchwise.distributed import OneProcess
from patchwise.errors import ShapeError
from patchwise.methods.shared_regions import shared_regions

ALONE = OneProcess()
GRIDS = [(4, 4), (4, 4), (2, 2)]


def crops(*boxes: list[list[int]]) -> list[Crops]:
    return [Crops(torch.tensor(box), torch.zeros(len(box), dtype=torch.bool)) for box in boxes]


# Two images; the second global view of the second image shows its right half.
CROPS = crops(
    [[0, 0, 8, 8], [0, 0, 8, 8]],
    [[0, 0, 8, 8], [0, 4, 8, 8]],
    [[0, 0, 4, 4], [4, 4, 4, 4]],
)
EVERYTHING = torch.ones(2, 2, 4, 4, dtype=torch.bool)


def test_every_global_view_is_compared_with_every_other_view() -> None:
    pairs = shared_regions(CROPS, GRIDS, EVERYTHING, cells=2, collectives=ALONE)
    assert [(p.teacher, p.student) for p in pairs] == [(0, 1), (0, 2), (1, 0), (1, 2)]


def test_boxes_are_in_patches_of_the_crop_they_are_read_from() -> None:
    pairs = shared_regions(CROPS, GRIDS, EVERYTHING, cells=2, collectives=ALONE)
    assert pairs[0].region.teacher.tolist() == [[0, 0, 4, 4], [0, 2, 4, 2]]
    assert pairs[0].region.student.tolist() == [[0, 0, 4, 4], [0, 0, 4, 2]]
    assert pairs[1].region.teacher.tolist() == [[0, 0, 2, 2], [2, 2, 2, 2]]
    assert pairs[1].region.student.tolist() == [[0, 0, 2, 2], [0, 0, 2, 2]]
    assert pairs[3].region.teacher.tolist() == [[0, 0, 2, 2], [2, 0, 2, 2]]


def test_weights_are_a_mean_over_pairs_of_means_over_the_teachers_foreground() -> None:
    foreground = EVERYTHING.clone()
    foreground[0, 0, 0] = False  # the top row of the first view of the first image
    pairs = shared_regions(CROPS, GRIDS, foreground, cells=2, collectives=ALONE)
    # Of eight cells of each of the first two pairs, some show the top row of patches.
    for pair, lost in zip(pairs, (2, 2, 0, 0), strict=True):
        weight = pair.region.weight.flatten().tolist()
        assert len(weight) == 8
        assert weight[:lost] == [0.0] * lost
        assert weight[lost:] == pytest.approx([1 / 4 / (8 - lost)] * (8 - lost))


def test_the_foreground_is_looked_up_where_the_teacher_shows_the_place() -> None:
    foreground = EVERYTHING.clone()
    foreground[0, 1, 3, 3] = False  # its last patch: the last one of the local view, too
    pairs = shared_regions(CROPS, GRIDS, foreground, cells=2, collectives=ALONE)
    kept = pairs[1].region.weight > 0
    assert kept.flatten().tolist() == [True] * 7 + [False]


def test_crops_that_do_not_meet_are_not_compared() -> None:
    apart = crops([[0, 0, 4, 4]], [[0, 0, 4, 4]], [[4, 4, 4, 4]])
    pairs = shared_regions(apart, GRIDS, EVERYTHING[:, :1], cells=2, collectives=ALONE)
    assert [float(pair.region.weight.sum()) for pair in pairs] == [1 / 4, 0, 1 / 4, 0]


def test_cells_are_counted_over_all_processes() -> None:
    class Twice(OneProcess):
        def sum(self, tensor: Tensor) -> Tensor:
            return 2 * tensor

    pairs, alone = (
        shared_regions(CROPS, GRIDS, EVERYTHING, cells=2, collectives=each)
        for each in (Twice(), ALONE)
    )
    for pair, same in zip(pairs, alone, strict=True):
        torch.testing.assert_close(pair.region.weight, same.region.weight)


@pytest.mark.bad_input
def test_a_mask_of_other_images_is_refused() -> None:
    with pytest.raises(ShapeError, match="boxes must have shape"):
        shared_regions(CROPS, GRIDS, EVERYTHING[:, :1], cells=2, collectives=ALONE)
