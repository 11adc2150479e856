"""Views that overlap: whose pixels they are, what determines them, and who sees colours changed."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from patchwise.augment.crop import patch_centres, sample_crops
from patchwise.augment.overlapping_views import OverlappingViews, make_overlapping_views
from patchwise.configs.normalisation import Normalisation
from patchwise.configs.views import OverlappingViewsConfig
from patchwise.errors import RangeError, ShapeError
from patchwise.ops.overlap import overlap_boxes
from patchwise.types import ImageBatch
from tests.augment.test_multicrop import batch_of, denormalise, view_pixels

VIEWS = OverlappingViewsConfig(global_px=32, local_px=16, local_count=3)
PLAIN = dataclasses.replace(VIEWS, jitter_prob=0.0, grayscale_prob=0.0, blur_prob=0.0)


def make(
    batch: ImageBatch,
    views: OverlappingViewsConfig = VIEWS,
    beside: list[int] | None = None,
    seed: int = 0,
) -> OverlappingViews:
    others = None if beside is None else torch.tensor(beside)
    return make_overlapping_views(batch, views, patch_px=8, seed=seed, beside=others)


def test_layout() -> None:
    views = make(batch_of([5, 2, 9, 4]))
    assert views.teacher.shape == (8, 3, 32, 32)
    student = views.student
    assert [tuple(pixels.shape) for pixels in student.pixels] == [(8, 3, 32, 32), (12, 3, 16, 16)]
    assert all(pixels.dtype == torch.float32 for pixels in (views.teacher, *student.pixels))
    assert student.grids == ((4, 4), (4, 4), (2, 2), (2, 2), (2, 2))
    assert [len(crops) for crops in student.crops] == [4] * 5
    assert [key.view for key in student.keys] == [*range(5)]
    assert student.num_images == 4
    for pixels in (views.teacher, *student.pixels):
        values = denormalise(pixels)
        assert values.min() > -1e-5
        assert values.max() < 1 + 1e-5


def test_pixels_come_from_where_the_crops_say() -> None:
    """A coordinate image: red is y, green is x. The teacher sees the student's crops."""
    y, x = torch.meshgrid(torch.arange(120), torch.arange(200), indexing="ij")
    pixels = torch.stack([y, x, 0 * x]).to(torch.uint8).expand(4, -1, -1, -1)
    batch = ImageBatch(pixels, torch.tensor([[120, 200]] * 4), torch.arange(4), 0)
    views = make(batch, PLAIN)
    assert torch.equal(views.teacher, views.student.pixels[0])
    for view, (crops, grid) in enumerate(
        zip(views.student.crops, views.student.grids, strict=True)
    ):
        assert not crops.flip.any()
        shown = denormalise(view_pixels(views.student, view))[:, :2] * 255 + 0.5
        read_off = F.avg_pool2d(shown, 8).movedim(1, -1)
        torch.testing.assert_close(read_off, patch_centres(crops, grid), atol=1.2, rtol=0)


def test_boxes_of_the_overlap_show_the_same_place() -> None:
    """Of a coordinate image: read off both crops at the corners of what they share."""
    sizes = torch.tensor([[100, 160]] * 6)
    batch = ImageBatch(torch.zeros(6, 3, 100, 160, dtype=torch.uint8), sizes, torch.arange(6), 0)
    crops = make(batch).student.crops
    for view in (1, 2, 3, 4):
        a, b = crops[0].boxes, crops[view].boxes
        in_a, in_b = overlap_boxes(a, b, size_a=(1, 1), size_b=(1, 1))
        places = [
            torch.cat([box[:, :2] + at[:, :2] * box[:, 2:], at[:, 2:] * box[:, 2:]], dim=1)
            for box, at in ((a, in_a), (b, in_b))
        ]
        torch.testing.assert_close(*places)
        share = places[0][:, 2:].prod(dim=1) / 16_000
        assert (share >= (0.02 if view == 1 else 0.01) - 1e-9).all()


def test_every_crop_overlaps_both_global_ones() -> None:
    batch = batch_of([*range(200)])
    demanding = dataclasses.replace(PLAIN, global_overlap_frac=0.2, local_overlap_frac=0.03)
    crops = make(batch, demanding).student.crops
    whole = batch.sizes.prod(dim=1)
    for view in range(1, 5):
        for other in range(min(view, 2)):
            shared = overlap_boxes(
                crops[other].boxes, crops[view].boxes, size_a=(1, 1), size_b=(1, 1)
            )[0]
            area = shared[:, 2:].prod(dim=1) * crops[other].boxes[:, 2:].prod(dim=1)
            assert (area / whole > (0.2 if view == 1 else 0.03) - 1e-6).all()
    # Local crops are free among each other: some share nothing.
    pair = overlap_boxes(crops[2].boxes, crops[3].boxes, size_a=(1, 1), size_b=(1, 1))[0]
    assert (pair[:, 2:].prod(dim=1) == 0).any()


def test_views_show_the_share_and_shape_that_is_asked_for() -> None:
    batch = batch_of([*range(200)])
    config = dataclasses.replace(PLAIN, aspect=(1.2, 1.3))
    crops = make(batch, config).student.crops
    for view, area in enumerate([(0.25, 1.0)] * 2 + [(0.05, 0.1)] * 3):
        assert (crops[view].boxes[:, 3] >= crops[view].boxes[:, 2]).all()
        share = crops[view].boxes[:, 2:].prod(dim=1) / batch.sizes.prod(dim=1)
        assert share.min() > 0.8 * area[0]
        assert share.max() < 1.2 * area[1]
    free = sample_crops(
        batch.sizes, make(batch, config).student.keys[0], area_frac=(0.25, 1.0), aspect=(1.2, 1.3)
    )
    assert torch.equal(crops[0].boxes, free.boxes)


def test_only_the_students_colours_change() -> None:
    batch = batch_of([1, 2, 3, 4, 5, 6])
    plain, coloured = make(batch, PLAIN), make(batch)
    assert torch.equal(plain.teacher, coloured.teacher)
    for before, after in zip(plain.student.crops, coloured.student.crops, strict=True):
        assert torch.equal(before.boxes, after.boxes)
    for was, now in zip(plain.student.pixels, coloured.student.pixels, strict=True):
        changed = (was != now).flatten(1).any(dim=1)
        assert changed.double().mean() > 0.6  # the chance of no change at all is 0.08


def test_patches_are_recoloured_on_their_own_for_the_student_alone() -> None:
    pixels = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    batch = ImageBatch(
        pixels.expand(2, 3, 40, 40).contiguous(), torch.tensor([[40, 40]] * 2), torch.arange(2), 0
    )
    config = dataclasses.replace(PLAIN, recolour_patches=True)
    plain, recoloured = make(batch, PLAIN), make(batch, config)
    assert torch.equal(plain.teacher, recoloured.teacher)
    for was, now in zip(plain.student.pixels, recoloured.student.pixels, strict=True):
        assert (was.amax(dim=(2, 3)) - was.amin(dim=(2, 3))).max() < 0.02  # numbers are rounded
        patches = now.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4)
        assert (patches.amax(dim=4) - patches.amin(dim=4)).max() < 0.1
        means = patches.mean(dim=4)
        assert (means.amax(dim=(2, 3)) - means.amin(dim=(2, 3))).mean() > 0.2


def test_each_image_and_view_draws_its_own_colours() -> None:
    """Images of one colour: views that came out alike drew alike."""
    pixels = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    batch = ImageBatch(
        pixels.expand(8, 3, 40, 40).contiguous(), torch.tensor([[40, 40]] * 8), torch.arange(8), 0
    )
    always = dataclasses.replace(PLAIN, jitter_prob=1.0)
    means = torch.cat([p.mean(dim=(2, 3)) for p in make(batch, always).student.pixels])
    assert (torch.cdist(means, means) + torch.eye(len(means)) > 1e-3).all()


def test_the_blur_has_its_window() -> None:
    """An edge in the middle is seen as far as the window reaches, 3 px to each side."""
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    pixels[..., 16:] = 255
    batch = ImageBatch(pixels, torch.tensor([[32, 32]]), torch.tensor([0]), 0)
    config = dataclasses.replace(
        PLAIN, global_area_frac=(1.0, 1.0), aspect=(1.0, 1.0), blur_prob=1.0,
        blur_sigma_px=(2.0, 2.0), local_count=0,
    )  # fmt: skip
    for window, reach in ((7, 3), (3, 1), (13, 6)):
        views = make(batch, dataclasses.replace(config, blur_window_px=window))
        row = denormalise(views.student.pixels[0])[0, 0, 5]
        grey = ((row > 1e-4) & (row < 1 - 1e-4)).nonzero()[:, 0]
        assert grey.tolist() == [*range(16 - reach, 16 + reach)]
        assert set(denormalise(views.teacher)[0, 0, 5].round(decimals=3).tolist()) == {0, 1}


def test_an_image_has_the_same_views_in_any_batch() -> None:
    among, alone = make(batch_of([3, 7, 5]), beside=[1, 9, 4]), make(batch_of([7]), beside=[9])
    torch.testing.assert_close(among.teacher[1::3], alone.teacher, atol=1e-5, rtol=0)
    for view in range(5):
        assert torch.equal(among.student.crops[view].boxes[1:2], alone.student.crops[view].boxes)
        torch.testing.assert_close(
            view_pixels(among.student, view)[1:2],
            view_pixels(alone.student, view),
            atol=1e-4,
            rtol=0,
        )


def test_a_neighbour_draws_anew_for_each_image_it_goes_with() -> None:
    batch = batch_of([7, 7, 7])
    itself, beside = make(batch), make(batch, beside=[1, 2, 7])
    boxes = torch.stack([crops.boxes for crops in (*itself.student.crops, *beside.student.crops)])
    assert torch.equal(boxes[:5, 0], boxes[:5, 1])
    for view in range(5):
        drawn = torch.cat([boxes[view, :1], boxes[5 + view]])
        assert len(drawn.unique(dim=0)) == 4  # type: ignore[no-untyped-call]
    always = dataclasses.replace(PLAIN, jitter_prob=1.0)
    same = batch.pixels.float().mean(dim=(2, 3), keepdim=True).to(torch.uint8)
    flat = dataclasses.replace(batch, pixels=same.expand_as(batch.pixels).contiguous())
    colours = make(flat, always, beside=[1, 2, 7]).student.pixels[0].mean(dim=(2, 3))[:3]
    assert (torch.cdist(colours, colours) + torch.eye(3) > 1e-3).all()


def test_seed_and_epoch_matter_and_nothing_else() -> None:
    base = make(batch_of([3, 4], one_size=True))
    others = [
        make(batch_of([3, 4], one_size=True), seed=1),
        make(batch_of([3, 4], one_size=True, epoch=1)),
        make(batch_of([8, 9], one_size=True)),
    ]
    for other in others:
        for ours, theirs in zip(base.student.crops, other.student.crops, strict=True):
            assert (ours.boxes != theirs.boxes).any(dim=1).all()
    torch.rand(1)
    again = make(batch_of([3, 4], one_size=True))
    assert torch.equal(base.teacher, again.teacher)
    for before, after in zip(base.student.pixels, again.student.pixels, strict=True):
        assert torch.equal(before, after)


def test_without_local_views_there_is_one_resolution() -> None:
    both = make(batch_of([1, 2]))
    alone = make(batch_of([1, 2]), dataclasses.replace(VIEWS, local_count=0))
    assert len(alone.student.pixels) == 1
    assert torch.equal(alone.teacher, both.teacher)
    assert torch.equal(alone.student.pixels[0], both.student.pixels[0])


def test_views_are_normalised_as_the_backbone_wants() -> None:
    batch = batch_of([1, 2])
    raw = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    other = make_overlapping_views(batch, VIEWS, patch_px=8, seed=0, normalisation=raw)
    usual = make(batch)
    pairs = zip(
        (other.teacher, *other.student.pixels), (usual.teacher, *usual.student.pixels), strict=True
    )
    for pixels, as_imagenet in pairs:
        torch.testing.assert_close(pixels, denormalise(as_imagenet))


def test_mixed_precision_does_not_reach_the_views() -> None:
    batch = batch_of([1, 2])
    plain = make(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = make(batch)
    assert torch.equal(plain.teacher, mixed.teacher)
    for before, after in zip(plain.student.pixels, mixed.student.pixels, strict=True):
        assert torch.equal(before, after)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_views() -> None:
    batch = batch_of([1, 2, 3])
    here, there = make(batch), make(batch.to(torch.device("cuda")))
    pairs = zip(
        (here.teacher, *here.student.pixels), (there.teacher, *there.student.pixels), strict=True
    )
    for ours, theirs in pairs:
        assert theirs.is_cuda
        assert ((ours - theirs.cpu()).abs() < 1e-4).float().mean() > 0.99
    for mine, other in zip(here.student.crops, there.student.crops, strict=True):
        assert torch.equal(mine.boxes, other.boxes)


@pytest.mark.bad_input
def test_wrong_arguments_are_named() -> None:
    batch = batch_of([1, 2])
    with pytest.raises(RangeError, match=r"^make_overlapping_views: patch_px must be positive"):
        make_overlapping_views(batch, VIEWS, patch_px=0, seed=0)
    message = "local_px must be a multiple of the patch side 14, got 96; use 98"
    with pytest.raises(RangeError, match=f"^make_overlapping_views: {message}"):
        make_overlapping_views(batch, OverlappingViewsConfig(), patch_px=14, seed=0)
    with pytest.raises(ShapeError, match=r"^make_overlapping_views: beside must have shape \(2"):
        make(batch, beside=[1])
