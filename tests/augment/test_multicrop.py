"""The views of a step: their layout, what determines them, and where their pixels come from."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from patchwise.augment.crop import patch_centres
from patchwise.augment.multicrop import MultiCropViews, make_multicrop
from patchwise.configs.normalisation import IMAGENET, Normalisation
from patchwise.configs.views import PatchColourConfig, ViewsConfig
from patchwise.errors import RangeError, ShapeError
from patchwise.types import ImageBatch

VIEWS = ViewsConfig(global_px=32, local_px=16, local_count=3, local_area_frac=(0.1, 0.4))
PLAIN = dataclasses.replace(
    VIEWS,
    jitter_prob=0.0,
    grayscale_prob=0.0,
    blur_probs=(0.0, 0.0, 0.0),
    solarise_probs=(0.0, 0.0, 0.0),
)
COLOUR = PatchColourConfig()


def batch_of(ids: list[int], *, one_size: bool = False, epoch: int = 0) -> ImageBatch:
    """Images whose size and pixels follow from their id, padded to 60 x 60."""
    pixels = torch.zeros(len(ids), 3, 60, 60, dtype=torch.uint8)
    sizes = []
    for row, image in enumerate(ids):
        generator = torch.Generator().manual_seed(image)
        drawn = torch.randint(30, 61, (2,), generator=generator).tolist()
        height, width = (48, 60) if one_size else drawn
        pixels[row, :, :height, :width] = torch.randint(
            0, 256, (3, height, width), generator=generator
        )
        sizes.append([height, width])
    return ImageBatch(pixels, torch.tensor(sizes), torch.tensor(ids), epoch)


def make(
    batch: ImageBatch,
    views: ViewsConfig = VIEWS,
    patch_colour: PatchColourConfig | None = COLOUR,
    seed: int = 0,
) -> MultiCropViews:
    return make_multicrop(batch, views, patch_colour=patch_colour, patch_px=8, seed=seed)


def denormalise(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET.mean, IMAGENET.std))
    return pixels * std + mean


def test_views_may_be_normalised_otherwise() -> None:
    """The same draws, the same pixels."""
    other = Normalisation((0.1, 0.5, 0.9), (0.5, 0.3, 0.1))
    batch = batch_of([3, 8])
    plain = make(batch)
    changed = make_multicrop(
        batch, VIEWS, patch_colour=COLOUR, patch_px=8, seed=0, normalisation=other
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (other.mean, other.std))
    for one, two in zip(plain.pixels, changed.pixels, strict=True):
        torch.testing.assert_close(denormalise(one), two * std + mean, atol=1e-5, rtol=0)


def view_pixels(views: MultiCropViews, view: int) -> torch.Tensor:
    """Pixels of one view of all images."""
    group, at = (views.pixels[0], view) if view < 2 else (views.pixels[1], view - 2)
    return group[at * views.num_images : (at + 1) * views.num_images]


def test_layout() -> None:
    views = make(batch_of([5, 2, 9, 4]))
    assert [tuple(pixels.shape) for pixels in views.pixels] == [(8, 3, 32, 32), (12, 3, 16, 16)]
    assert all(pixels.dtype == torch.float32 for pixels in views.pixels)
    assert views.grids == ((4, 4), (4, 4), (2, 2), (2, 2), (2, 2))
    assert [len(crops) for crops in views.crops] == [4] * 5
    assert views.num_images == 4
    for pixels in views.pixels:
        values = denormalise(pixels)
        assert values.min() > -1e-5
        assert values.max() < 1 + 1e-5


def test_without_local_views_there_is_one_resolution() -> None:
    both = make(batch_of([1, 2]))
    alone = make(batch_of([1, 2]), dataclasses.replace(VIEWS, local_count=0))
    assert len(alone.pixels) == 1
    assert len(alone.crops) == len(alone.grids) == 2
    assert torch.equal(alone.pixels[0], both.pixels[0])


def test_pixels_come_from_where_the_crops_say() -> None:
    """A coordinate image: red is y, green is x."""
    y, x = torch.meshgrid(torch.arange(120), torch.arange(200), indexing="ij")
    pixels = torch.stack([y, x, 0 * x]).to(torch.uint8).expand(4, -1, -1, -1)
    batch = ImageBatch(pixels, torch.tensor([[120, 200]] * 4), torch.arange(4), 0)
    views = make(batch, PLAIN, None)
    assert torch.cat([crops.flip for crops in views.crops]).float().mean() not in (0, 1)
    for view, (crops, grid) in enumerate(zip(views.crops, views.grids, strict=True)):
        shown = denormalise(view_pixels(views, view))[:, :2] * 255 + 0.5
        read_off = F.avg_pool2d(shown, 8).movedim(1, -1)
        torch.testing.assert_close(read_off, patch_centres(crops, grid), atol=1.2, rtol=0)


def test_views_show_the_share_of_the_image_that_is_asked_for() -> None:
    batch = batch_of(list(range(200)))
    views = make(batch, PLAIN, None)
    whole = batch.sizes.prod(dim=1)
    share = torch.stack([crops.boxes[:, 2:].prod(dim=1) / whole for crops in views.crops])
    assert (share[:2] > 0.35).all()
    assert abs(share[:2].mean() - 0.65) < 0.05
    assert (share[2:] < 0.45).all()
    assert abs(share[2:].mean() - 0.25) < 0.02


@pytest.mark.parametrize("views", [VIEWS, PLAIN])
def test_an_image_has_the_same_views_in_any_batch(views: ViewsConfig) -> None:
    among, alone = make(batch_of([3, 7, 5]), views), make(batch_of([7]), views)
    for view in range(5):
        assert torch.equal(among.crops[view].boxes[1:2], alone.crops[view].boxes)
        assert torch.equal(among.crops[view].flip[1:2], alone.crops[view].flip)
        difference = (view_pixels(among, view)[1:2] - view_pixels(alone, view)).abs()
        assert (difference < 1e-4).float().mean() > 0.99  # posterising may fall the other way


def test_seed_epoch_view_and_image_all_matter() -> None:
    base = make(batch_of([3, 4], one_size=True))
    others = [
        make(batch_of([3, 4], one_size=True), seed=1),
        make(batch_of([3, 4], one_size=True, epoch=1)),
        make(batch_of([8, 9], one_size=True)),
    ]
    for other in others:
        for ours, theirs in zip(base.crops, other.crops, strict=True):
            assert (ours.boxes != theirs.boxes).any(dim=1).all()
    boxes = torch.cat([crops.boxes for crops in base.crops])
    assert len(boxes.unique(dim=0)) == 10  # type: ignore[no-untyped-call]
    again = make(batch_of([3, 4], one_size=True))
    assert all(torch.equal(a, b) for a, b in zip(base.pixels, again.pixels, strict=True))


def test_each_kind_of_view_has_its_own_chances() -> None:
    """Solarising alone: only the view that is asked for it changes."""
    for kind, changed in enumerate([[0], [1], [2, 3, 4]]):
        probs = (float(kind == 0), float(kind == 1), float(kind == 2))
        batch = batch_of([1, 2, 3])
        base = make(batch, PLAIN, None)
        solarised = make(batch, dataclasses.replace(PLAIN, solarise_probs=probs), None)
        blurred = make(batch, dataclasses.replace(PLAIN, blur_probs=probs), None)
        for view in range(5):
            for other in (solarised, blurred):
                same = torch.equal(view_pixels(base, view), view_pixels(other, view))
                assert same == (view not in changed)


def test_patch_colour_comes_last_and_only_if_asked_for() -> None:
    batch = batch_of([1, 2])
    base, recoloured = make(batch, PLAIN, None), make(batch, PLAIN)
    assert not torch.allclose(base.pixels[0], recoloured.pixels[0])
    coarse = make(
        batch,
        PLAIN,
        PatchColourConfig(0.0, 0.0, (0.0, 0.0), sharpness_prob=0, posterise_prob=1.0),
    )
    levels = denormalise(coarse.pixels[0]) * 255 / 32
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


def test_shared_geometry_is_one_geometry_for_all() -> None:
    shared = dataclasses.replace(VIEWS, shared_geometry=True)
    views = make(batch_of([3, 4, 5], one_size=True), shared, None)
    for crops in views.crops:
        assert (crops.boxes == crops.boxes[0]).all()
        assert (crops.flip == crops.flip[0]).all()
    assert len(torch.stack([crops.boxes[0] for crops in views.crops]).unique(dim=0)) == 5  # type: ignore[no-untyped-call]
    same = torch.arange(3600).remainder(256).view(1, 1, 60, 60).expand(3, 3, 60, 60)
    batch = ImageBatch(same.byte(), torch.tensor([[60, 60]] * 3), torch.tensor([3, 4, 5]), 0)
    alike = make(batch, shared, None)
    for pixels in alike.pixels:  # colours are shared too
        per_view = pixels.view(-1, 3, *pixels.shape[1:])
        torch.testing.assert_close(per_view, per_view[:, :1].expand_as(per_view))
    own = make(batch, shared, COLOUR)  # but patches draw for themselves
    assert not torch.allclose(own.pixels[0][0], own.pixels[0][1])


def test_mixed_precision_does_not_reach_the_views() -> None:
    batch = batch_of([1, 2])
    plain = make(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = make(batch)
    assert all(torch.equal(a, b) for a, b in zip(plain.pixels, mixed.pixels, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_views() -> None:
    batch = batch_of([1, 2, 3])
    here, there = make(batch), make(batch.to(torch.device("cuda")))
    for ours, theirs in zip(here.pixels, there.pixels, strict=True):
        assert theirs.is_cuda
        assert ((ours - theirs.cpu()).abs() < 1e-4).float().mean() > 0.99
    for mine, other in zip(here.crops, there.crops, strict=True):
        assert torch.equal(mine.boxes, other.boxes)


@pytest.mark.bad_input
def test_wrong_arguments_are_named() -> None:
    batch = batch_of([1, 2])
    with pytest.raises(RangeError, match=r"^make_multicrop: patch_px must be positive, got 0"):
        make_multicrop(batch, VIEWS, patch_colour=None, patch_px=0, seed=0)
    message = "global_px must be a multiple of the patch side 14, got 32; use 28"
    with pytest.raises(RangeError, match=f"^make_multicrop: {message}"):
        make_multicrop(batch, VIEWS, patch_colour=None, patch_px=14, seed=0)
    views = dataclasses.replace(VIEWS, global_px=224, local_px=96)
    message = "local_px must be a multiple of the patch side 14, got 96; use 98"
    with pytest.raises(RangeError, match=f"^make_multicrop: {message}"):
        make_multicrop(batch, views, patch_colour=None, patch_px=14, seed=0)
    message = r"images must be of one size with shared_geometry, got \[\d+, \d+\] and"
    with pytest.raises(ShapeError, match=f"^make_multicrop: {message}"):
        make(batch, dataclasses.replace(VIEWS, shared_geometry=True))
