"""Crops that must overlap others: they do, and are otherwise the crops that are always drawn."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchwise.augment.crop import BOX_DRAWS, Crops, sample_crops
from patchwise.augment.draw import DrawKey, Purpose
from patchwise.augment.overlapping_crops import sample_overlapping_crops
from patchwise.errors import RangeError, ShapeError

GLOBAL, LOCAL = (0.25, 1.0), (0.05, 0.1)
MANY = 3000


@dataclass(frozen=True)
class Later(DrawKey):
    """A key whose numbers are those of another one from some place on."""

    skipped: int = 0

    def uniform(self, count: int, purpose: Purpose) -> NDArray[np.float64]:
        return super().uniform(self.skipped + count, purpose)[:, self.skipped :]


def key(number: int, view: int = 0, seed: int = 0) -> DrawKey:
    return DrawKey(seed, 0, np.arange(number), view)


def sizes_of(size: tuple[int, int], number: int) -> Tensor:
    return torch.tensor([size]).repeat(number, 1)


def draw_three(sizes: Tensor, seed: int = 0) -> list[Crops]:
    """Two global crops and a local one, as CoTAP asks for them."""
    number, crops = len(sizes), list[Crops]()
    for view, (share, area) in enumerate([(0.02, GLOBAL), (0.02, GLOBAL), (0.01, LOCAL)]):
        drawn = key(number, view, seed)
        crops.append(
            sample_overlapping_crops(sizes, drawn, crops, overlap_frac=share, area_frac=area)
        )
    return crops


def overlap_frac(a: Tensor, b: Tensor, size: Tensor) -> float:
    """Paint both boxes of one image and count."""
    painted = torch.zeros(2, *size.tolist())
    for mask, (top, left, height, width) in zip(painted, [a.tolist(), b.tolist()], strict=True):
        mask[top : top + height, left : left + width] = 1
    return float(painted.prod(dim=0).mean())


@pytest.mark.parametrize("seed", range(3))
def test_crops_overlap_as_much_as_is_asked_for(seed: int) -> None:
    sizes = torch.randint(8, 90, (150, 2), generator=torch.Generator().manual_seed(seed))
    sizes[:40, 1] = 3 * sizes[:40, 0]
    first, second, local = draw_three(sizes, seed)
    for crops in (first, second, local):
        assert (crops.boxes[:, :2] >= 0).all()
        assert (crops.boxes[:, 2:] >= 1).all()
        assert (crops.boxes[:, :2] + crops.boxes[:, 2:] <= sizes).all()
        assert not crops.flip.any()
    for image, size in enumerate(sizes):
        boxes = [crops.boxes[image] for crops in (first, second, local)]
        assert overlap_frac(boxes[0], boxes[1], size) > 0.02 - 1e-6
        assert overlap_frac(boxes[0], boxes[2], size) > 0.01 - 1e-6
        assert overlap_frac(boxes[1], boxes[2], size) > 0.01 - 1e-6


def test_the_first_crop_that_will_do_is_kept() -> None:
    """Try after try by the plain sampler: 22 numbers of the image's stream make a crop."""
    assert BOX_DRAWS == 22
    number = 300
    sizes = sizes_of((60, 150), number)
    first, second, local = draw_three(sizes)
    kept = torch.full((number,), -1)
    for tried in range(40):
        later = Later(0, 0, np.arange(number), 2, skipped=tried * BOX_DRAWS)
        boxes = sample_crops(sizes, later, area_frac=LOCAL).boxes
        fits = torch.tensor(
            [
                min(
                    overlap_frac(box, other.boxes[image], sizes[image]) for other in (first, second)
                )
                > 0.01 - 1e-6
                for image, box in enumerate(boxes)
            ]
        )
        new = fits & (kept < 0)
        kept[new] = tried
        assert torch.equal(local.boxes[new], boxes[new])
    assert (kept >= 0).all()
    assert 0.3 < (kept == 0).double().mean() < 0.8
    assert (kept > 8).any(), "the first round was not enough"


def test_without_others_or_demands_it_is_the_plain_sampler() -> None:
    sizes = sizes_of((60, 150), 50)
    plain = sample_crops(sizes, key(50), area_frac=LOCAL)
    alone = sample_overlapping_crops(sizes, key(50), [], overlap_frac=0.5, area_frac=LOCAL)
    far = Crops(torch.tensor([[0, 0, 1, 1]]).repeat(50, 1), plain.flip)
    free = sample_overlapping_crops(sizes, key(50), [far], overlap_frac=0.0, area_frac=LOCAL)
    assert torch.equal(alone.boxes, plain.boxes)
    assert torch.equal(free.boxes, plain.boxes)


def test_areas_and_shapes_hardly_change() -> None:
    """Larger crops overlap more often, so they are kept a little more often."""
    sizes = sizes_of((256, 341), MANY)
    for view, (crops, area) in enumerate(
        zip(draw_three(sizes), [GLOBAL] * 2 + [LOCAL], strict=True)
    ):
        free = sample_crops(sizes, key(MANY, view), area_frac=area)
        share, free_share = (c.boxes[:, 2:].prod(dim=1) / (256 * 341) for c in (crops, free))
        for part in (0.1, 0.5, 0.9):
            moved = share.quantile(part) - free_share.quantile(part)
            assert abs(moved) < 0.03 * free_share.quantile(part)
        ratio, free_ratio = ((c.boxes[:, 3] / c.boxes[:, 2]).log().double() for c in (crops, free))
        assert abs(ratio.mean() - free_ratio.mean()) < 0.01
        assert abs(ratio.std() - free_ratio.std()) < 0.01
        assert share.min() > 0.97 * area[0]
        assert share.max() < 1.03 * area[1]


def test_where_nothing_will_do_the_place_that_all_others_show_is_taken() -> None:
    """A crop of an area of at most a tenth cannot share a fifth."""
    sizes = sizes_of((40, 50), 3)
    boxes = torch.tensor([[[0, 0, 30, 30], [5, 10, 35, 40]]]).repeat(3, 1, 1)
    others = [Crops(each, torch.zeros(3, dtype=torch.bool)) for each in boxes.unbind(dim=1)]
    crops = sample_overlapping_crops(sizes, key(3), others, overlap_frac=0.2, area_frac=LOCAL)
    assert crops.boxes.tolist() == [[5, 10, 25, 20]] * 3
    one = sample_overlapping_crops(sizes, key(3), others[:1], overlap_frac=0.2, area_frac=LOCAL)
    assert one.boxes.tolist() == [[0, 0, 30, 30]] * 3
    assert not crops.flip.any()


def test_a_late_try_is_better_than_the_last_resort() -> None:
    """The corner of a large image is met in one of about 150 tries."""
    number = 300
    sizes = sizes_of((200, 200), number)
    corner = Crops(torch.tensor([[0, 0, 20, 20]]).repeat(number, 1), torch.zeros(number).bool())
    crops = sample_overlapping_crops(
        sizes, key(number), [corner], overlap_frac=0.0025, area_frac=LOCAL
    )
    last = (crops.boxes == corner.boxes).all(dim=1).double().mean()
    assert 0.02 < last < 0.6
    area = crops.boxes[:, 2:].prod(dim=1) / 40_000
    assert ((area > 0.048) | (crops.boxes == corner.boxes).all(dim=1)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 5), (1, 500), (900, 2), (4, 30)])
def test_tiny_and_long_images_have_crops(size: tuple[int, int]) -> None:
    """They overlap as asked where the first crop is large enough, and else as much as they can."""
    sizes = sizes_of(size, 40)
    first, second, local = draw_three(sizes)
    for image in range(40):
        boxes = [crops.boxes[image] for crops in (first, second, local)]
        possible = float(boxes[0][2:].prod() / sizes[image].prod())
        assert overlap_frac(boxes[0], boxes[1], sizes[image]) > min(possible, 0.02) - 1e-6
        for other in boxes[:2]:
            assert overlap_frac(other, boxes[2], sizes[image]) > min(possible, 0.01) - 1e-6


def test_an_image_is_cropped_the_same_in_any_batch() -> None:
    sizes = torch.tensor([[60, 150], [30, 200], [90, 90]])
    ids, beside = np.array([5, 8, 2]), np.array([1, 7, 9])
    others = [Crops(torch.tensor([[0, 0, 20, 20]]).repeat(3, 1), torch.zeros(3).bool())]
    among = sample_overlapping_crops(
        sizes, DrawKey(0, 1, ids, 2, beside), others, overlap_frac=0.01, area_frac=LOCAL
    )
    for row in range(3):
        at = slice(row, row + 1)
        alone = sample_overlapping_crops(
            sizes[at],
            DrawKey(0, 1, ids[at], 2, beside[at]),
            [Crops(others[0].boxes[at], others[0].flip[at])],
            overlap_frac=0.01,
            area_frac=LOCAL,
        )
        assert torch.equal(among.boxes[at], alone.boxes)
    elsewhere = sample_overlapping_crops(
        sizes, DrawKey(0, 1, ids, 2, beside + 1), others, overlap_frac=0.01, area_frac=LOCAL
    )
    assert (among.boxes != elsewhere.boxes).any(dim=1).all()


def test_no_images_have_no_crops() -> None:
    none = Crops(torch.zeros(0, 4, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    crops = sample_overlapping_crops(
        torch.zeros(0, 2, dtype=torch.int64), key(0), [none], overlap_frac=0.1, area_frac=LOCAL
    )
    assert crops.boxes.shape == (0, 4)


@pytest.mark.bad_input
def test_wrong_arguments_are_named() -> None:
    def sample(**changed: object) -> None:
        arguments: dict[str, object] = {
            "sizes": sizes_of((40, 50), 2), "key": key(2), "others": [], "overlap_frac": 0.1,
            "area_frac": LOCAL,
        }  # fmt: skip
        sample_overlapping_crops(**{**arguments, **changed})  # type: ignore[arg-type]

    sample()
    name = "^sample_overlapping_crops: "
    with pytest.raises(ShapeError, match=name + r"sizes must have shape \(2, 2\), got \(3, 2\)"):
        sample(sizes=sizes_of((40, 50), 3))
    with pytest.raises(RangeError, match=name + "sizes must be positive, got 0"):
        sample(sizes=sizes_of((40, 0), 2))
    with pytest.raises(RangeError, match=name + r"most_area_frac must lie in \[0, 1\], got 1.5"):
        sample(area_frac=(0.2, 1.5))
    with pytest.raises(RangeError, match=name + r"least_area_frac must lie in \[0, 1\], got -0.2"):
        sample(area_frac=(-0.2, 0.5))
    with pytest.raises(RangeError, match=name + r"overlap_frac must lie in \[0, 1\], got 2"):
        sample(overlap_frac=2)
    with pytest.raises(RangeError, match=name + "least_aspect must be positive, got 0"):
        sample(aspect=(0, 1.0))
    one = Crops(torch.tensor([[0, 0, 5, 5]]), torch.tensor([False]))
    with pytest.raises(ShapeError, match=name + r"others\[0\] must have shape \(2, 4\), got \(1"):
        sample(others=[one])
    apart = [
        Crops(torch.tensor([[0, 0, 5, 5]] * 2), torch.zeros(2).bool()),
        Crops(torch.tensor([[0, 0, 5, 5], [0, 5, 5, 5]]), torch.zeros(2).bool()),
    ]
    message = r"others must overlap each other in every image, got \[\[0, 0, 5, 5\], \[0, 5, 5, 5\]"
    with pytest.raises(RangeError, match=name + message):
        sample(others=apart)
    sample(others=apart, overlap_frac=0.0)
