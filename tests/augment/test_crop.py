"""What a crop must be, whatever numbers it draws."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from patchwise.augment.crop import Crops, apply_crops, patch_centres, sample_crops
from patchwise.augment.draw import DrawKey
from patchwise.errors import RangeError, ShapeError

SEEDS = range(8)
SIZES = torch.tensor([[96, 96], [64, 120], [120, 40], [33, 200]])


def key(seed: int, ids: list[int], view: int = 0) -> DrawKey:
    return DrawKey(seed, 0, np.array(ids), view)


def random_crops(seed: int, sizes: torch.Tensor = SIZES, view: int = 0) -> Crops:
    return sample_crops(sizes, key(seed, list(range(len(sizes))), view), area_frac=(0.2, 1.0))


def coordinate_images(sizes: torch.Tensor) -> torch.Tensor:
    """Padded images that hold each pixel's own (y, x, 0), one level a pixel."""
    height, width = sizes.max(dim=0).values.tolist()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x, 0 * x]).expand(len(sizes), -1, -1, -1).to(torch.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (7, 7), (2, 7)])
def test_patch_centres_are_where_the_pixels_came_from(seed: int, grid: tuple[int, int]) -> None:
    """Ask the image itself: crop a coordinate image and read the middle of each patch."""
    crops = random_crops(seed)
    side = 14 * 9
    cropped = apply_crops(coordinate_images(SIZES), SIZES, crops, size_px=side)[:, :2] * 255
    patch = (side // grid[0], side // grid[1])
    read_off = F.avg_pool2d(cropped, patch).movedim(1, -1) + 0.5  # pixel y spans [y, y + 1)
    centres = patch_centres(crops, grid)
    # At the crop's rim the kernel reads one side only, which moves what it shows by a part of a
    # pixel of the image; other patches are off by what products in bfloat16 round.
    torch.testing.assert_close(read_off, centres, atol=0.35, rtol=0)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    if grid == (7, 7):
        torch.testing.assert_close(read_off[inner], centres[inner], atol=0.2, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_flipped_crop_is_the_mirror_image(seed: int) -> None:
    crops = random_crops(seed)
    images = torch.randint(0, 256, (4, 3, 120, 200), dtype=torch.uint8)
    flipped = Crops(crops.boxes, ~crops.flip)
    once, other = (apply_crops(images, SIZES, c, size_px=16) for c in (crops, flipped))
    torch.testing.assert_close(once, other.flip(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_outside_the_box_is_seen(seed: int) -> None:
    crops = random_crops(seed)
    images = torch.randint(0, 256, (4, 3, 120, 200), dtype=torch.uint8)
    repainted = 255 - images
    for image, (top, left, height, width) in enumerate(crops.boxes.tolist()):
        box = (image, slice(None), slice(top, top + height), slice(left, left + width))
        repainted[box] = images[box]
    before, after = (apply_crops(i, SIZES, crops, size_px=24) for i in (images, repainted))
    assert torch.equal(before, after)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size_px", [16, 64])
def test_equals_pil_up_to_its_rounding(seed: int, size_px: int) -> None:
    """PIL rounds to levels after each axis: 0.3 levels on average on such noise."""
    crops = random_crops(seed)
    images = torch.randint(
        0, 256, (4, 3, 120, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    ours = apply_crops(images, SIZES, crops, size_px=size_px) * 255
    for image, (top, left, height, width) in enumerate(crops.boxes.tolist()):
        whole = Image.fromarray(images[image].permute(1, 2, 0).numpy())
        box = whole.crop((left, top, left + width, top + height))
        resized = box.resize((size_px, size_px), Image.Resampling.BICUBIC)
        if crops.flip[image]:
            resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        theirs = torch.from_numpy(np.asarray(resized).astype(np.float32)).permute(2, 0, 1)
        difference = (ours[image] - theirs).abs()
        assert difference.mean() < 0.6
        assert difference.max() < 40, "PIL also cuts overshoot after the first axis"


def test_a_crop_of_the_right_size_is_cut_out_exactly() -> None:
    images = torch.randint(0, 256, (1, 3, 40, 50), dtype=torch.uint8)
    crops = Crops(torch.tensor([[3, 11, 32, 32]]), torch.tensor([False]))
    cropped = apply_crops(images, torch.tensor([[40, 50]]), crops, size_px=32)
    expected = images[:, :, 3:35, 11:43] / 255
    torch.testing.assert_close(cropped, expected, atol=1e-6, rtol=0)


def test_several_views_at_once_are_the_views_one_after_the_other() -> None:
    images = torch.randint(0, 256, (4, 3, 120, 200), dtype=torch.uint8)
    views = [random_crops(0, view=view) for view in range(3)]
    together = apply_crops(images, SIZES, Crops.concatenate(views), size_px=20)
    alone = torch.cat([apply_crops(images, SIZES, crops, size_px=20) for crops in views])
    assert len(Crops.concatenate(views)) == 12
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_values_stay_within_range() -> None:
    stripes = (torch.arange(40) // 4 % 2 * 255).to(torch.uint8).expand(1, 3, 40, 40).contiguous()
    crops = Crops(torch.tensor([[0, 0, 40, 40]]), torch.tensor([True]))
    cropped = apply_crops(stripes, torch.tensor([[40, 40]]), crops, size_px=96)
    assert cropped.min() == 0
    assert cropped.max() == 1


MANY = torch.tensor([[60, 90]]).repeat(4000, 1)


def test_drawn_areas_and_shapes_are_those_asked_for() -> None:
    ids = list(range(4000))
    crops = sample_crops(MANY, key(0, ids), area_frac=(0.1, 0.3), aspect=(0.5, 2.0), flip_prob=0.25)
    top, left, height, width = crops.boxes.double().T
    area, ratio = height * width / 5400, width / height
    # Rounding a side to whole pixels changes it by half a pixel at most; the least side is 16.
    assert (area > 0.1 * 0.96**2).all()
    assert (area < 0.3 * 1.04**2).all()
    assert (ratio > 0.5 * 0.94).all()
    assert (ratio < 2.0 * 1.07).all()
    assert abs(area.mean() - 0.2) < 0.005
    assert abs(ratio.log().mean()) < 0.02  # log-uniform round 1
    assert abs(crops.flip.double().mean() - 0.25) < 0.03
    drawn = torch.stack([crops.flip.double(), area, ratio, top, left])
    assert torch.corrcoef(drawn)[0, 1:].abs().max() < 0.06, "flips hang together with nothing"
    # Every place where the box fits is as likely.
    for start, room in ((top, 60 - height), (left, 90 - width)):
        assert (start >= 0).all()
        assert (start <= room).all()
        assert abs((start / (room + 1)).mean() + 0.5 / (room + 1).mean() - 0.5) < 0.02
        assert (start == 0).any()
        assert (start == room).any()


def test_the_aspect_is_width_by_height() -> None:
    crops = sample_crops(MANY, key(0, list(range(4000))), area_frac=(0.1, 0.2), aspect=(1.5, 2.0))
    assert (crops.boxes[:, 3] > crops.boxes[:, 2]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_crops_stay_inside_the_image(seed: int) -> None:
    sizes = torch.randint(1, 12, (500, 2), generator=torch.Generator().manual_seed(seed))
    boxes = sample_crops(sizes, key(seed, list(range(500))), area_frac=(0.05, 1.0)).boxes
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ([100, 10], [43, 0, 13, 10]),  # too high: 10 wide, 10 / (3/4) = 13 high
        ([12, 100], [0, 42, 12, 16]),  # too wide: 12 high, 12 * 4/3 = 16 wide
        ([999, 1000], [0, 0, 999, 1000]),  # of an allowed shape: all of it
    ],
)
def test_where_nothing_fits_the_largest_centred_box_is_taken(
    size: list[int], box: list[int]
) -> None:
    """A box of the whole image's area fits only if it has the image's own shape."""
    crops = sample_crops(torch.tensor([size]), key(0, [0]), area_frac=(1.0, 1.0))
    assert crops.boxes.tolist() == [box]


def test_an_image_is_cropped_the_same_in_any_batch() -> None:
    among = sample_crops(SIZES, key(5, [3, 9, 7, 1]), area_frac=(0.2, 1.0))
    alone = sample_crops(SIZES[2:3], key(5, [7]), area_frac=(0.2, 1.0))
    assert torch.equal(among.boxes[2:3], alone.boxes)
    assert torch.equal(among.flip[2:3], alone.flip)


@pytest.mark.bad_input
def test_wrong_sampling_arguments_are_named() -> None:
    def sample(**changed: object) -> None:
        arguments: dict[str, object] = {"sizes": SIZES, "key": key(0, [0, 1, 2, 3])}
        sample_crops(**{**arguments, "area_frac": (0.2, 1.0), **changed})  # type: ignore[arg-type]

    with pytest.raises(ShapeError, match=r"^sample_crops: sizes must have shape \(4, 2\), got"):
        sample(sizes=SIZES[:3])
    with pytest.raises(RangeError, match=r"most_area_frac must lie in \[0, 1\], got 1.5"):
        sample(area_frac=(0.2, 1.5))
    with pytest.raises(RangeError, match=r"least_area_frac must lie in \[0, 1\], got -0.2"):
        sample(area_frac=(-0.2, 1.0))
    with pytest.raises(RangeError, match="least_aspect must be positive, got 0"):
        sample(aspect=(0, 1.0))
    with pytest.raises(RangeError, match=r"flip_prob must lie in \[0, 1\], got 2"):
        sample(flip_prob=2)
    with pytest.raises(RangeError, match="sizes must be positive, got 0"):
        sample(sizes=SIZES * 0)


@pytest.mark.bad_input
def test_wrong_crops_are_named() -> None:
    images, sizes = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([[8, 8], [6, 8]])
    whole = Crops(torch.tensor([[0, 0, 6, 8], [0, 0, 6, 8]]), torch.tensor([False, True]))
    apply_crops(images, sizes, whole, size_px=4)
    with pytest.raises(RangeError, match=r"^apply_crops: size_px must be positive, got 0"):
        apply_crops(images, sizes, whole, size_px=0)
    with pytest.raises(ShapeError, match=r"sizes must have shape \(2, 2\), got \(1, 2\)"):
        apply_crops(images, sizes[:1], whole, size_px=4)
    three = Crops(torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="crops must be as many for each of 2 images, got 3"):
        apply_crops(images, sizes, three, size_px=4)
    padded = Crops(torch.tensor([[0, 0, 8, 8], [0, 0, 7, 8]]), whole.flip)
    with pytest.raises(RangeError, match=r"crops must lie inside their images, got"):
        apply_crops(images, sizes, padded, size_px=4)
    with pytest.raises(RangeError, match=r"^patch_centres: grid_rows must be positive, got 0"):
        patch_centres(whole, (0, 2))
