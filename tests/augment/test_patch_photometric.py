"""Every patch is recoloured as if it were an image of its own."""

import dataclasses

import numpy as np
import pytest
import torch
from benchmarks.views import recolour_tile

from patchwise.augment.draw import DrawKey
from patchwise.augment.patch_photometric import (
    BLUR_KERNEL_PX,
    PatchPhotometric,
    apply_patch_photometric,
    sample_patch_photometric,
)
from patchwise.configs.views import PatchColourConfig
from patchwise.errors import RangeError, ShapeError

CONFIG = PatchColourConfig()
STILL = PatchColourConfig(
    brightness=0, hue=0, blur_sigma_px=(0.0, 0.0), sharpness_prob=0, posterise_prob=0
)


def draw(
    count: int, num_patches: int, config: PatchColourConfig = CONFIG, view: int = 0
) -> PatchPhotometric:
    return sample_patch_photometric(DrawKey(0, 0, np.arange(count), view), num_patches, config)


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("patch_px", "rows", "columns"), [(4, 5, 3), (7, 2, 4), (16, 2, 2)])
def test_equals_the_ops_on_each_cut_out_tile(patch_px: int, rows: int, columns: int) -> None:
    batch = images(6, rows * patch_px, columns * patch_px)
    params = draw(6, rows * columns)
    recoloured = apply_patch_photometric(batch, params, patch_px)
    off = 0
    for image in range(6):
        for patch in range(rows * columns):
            y, x = patch // columns * patch_px, patch % columns * patch_px
            box = (image, slice(None), slice(y, y + patch_px), slice(x, x + patch_px))
            expected = recolour_tile(batch[box][None], params, (image, patch))[0]
            difference = (recoloured[box] - expected).abs()
            # The last bit of a product may decide which of two levels a posterised value takes.
            level = 1.05 * 32 / 255
            assert (difference < 1e-4).float().mean() > 0.99
            off += int((difference >= 1e-4).sum())
            assert difference.max() < 4 * level
    assert off <= 3


def test_recolouring_one_patch_changes_no_pixel_of_another() -> None:
    batch, params = images(1, 24, 24), draw(1, 9)
    before = apply_patch_photometric(batch, params, 8)
    for patch in range(9):
        y, x = patch // 3 * 8, patch % 3 * 8
        repainted = batch.clone()
        repainted[:, :, y : y + 8, x : x + 8] = 1 - repainted[:, :, y : y + 8, x : x + 8]
        after = apply_patch_photometric(repainted, params, 8)
        changed = (before != after).any(dim=1)[0]
        assert changed[y : y + 8, x : x + 8].any()
        changed[y : y + 8, x : x + 8] = False
        assert not changed.any()


def test_other_numbers_for_one_patch_change_no_pixel_of_another() -> None:
    batch, params = images(1, 24, 24), draw(1, 9)
    before = apply_patch_photometric(batch, params, 8)
    for patch in range(9):
        brightness, sigma_px = params.brightness.clone(), params.sigma_px.clone()
        brightness[0, patch] -= 0.3
        sigma_px[0, patch] += 3
        other = dataclasses.replace(params, brightness=brightness, sigma_px=sigma_px)
        after = apply_patch_photometric(batch, other, 8)
        changed = (before != after).any(dim=1)[0]
        y, x = patch // 3 * 8, patch % 3 * 8
        assert changed[y : y + 8, x : x + 8].any()
        changed[y : y + 8, x : x + 8] = False
        assert not changed.any()


def test_strengths_and_chances_of_zero_change_nothing() -> None:
    batch = images(2, 16, 16)
    recoloured = apply_patch_photometric(batch, draw(2, 16, STILL), 4)
    torch.testing.assert_close(recoloured, batch, atol=1e-6, rtol=0)


@pytest.mark.parametrize("op", ["sharpness", "posterise", "blur", "brightness", "hue"])
def test_each_op_is_switched_on_by_its_own_option(op: str) -> None:
    options = {
        "sharpness": {"sharpness_prob": 1.0},
        "posterise": {"posterise_prob": 1.0},
        "blur": {"blur_sigma_px": (1.0, 1.0)},
        "brightness": {"brightness": 0.5},
        "hue": {"hue": 0.3},
    }
    config = dataclasses.replace(STILL, **options[op])  # type: ignore[arg-type]
    batch = images(2, 16, 16)
    params = draw(2, 4, config)
    recoloured = apply_patch_photometric(batch, params, 8)
    tiles = recoloured.unfold(2, 8, 8).unfold(3, 8, 8)
    before = batch.unfold(2, 8, 8).unfold(3, 8, 8)
    assert ((tiles - before).abs().amax(dim=(1, 4, 5)) > 0.01).all()
    if op == "posterise":
        levels = recoloured * 255 / 32
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    if op == "blur":
        stripes = torch.arange(16).remainder(2).float().expand(2, 3, 16, 16)
        upright = apply_patch_photometric(stripes.contiguous(), params, 8)
        torch.testing.assert_close(upright, stripes, atol=1e-6, rtol=0)
        assert BLUR_KERNEL_PX == (5, 1)


def test_every_patch_draws_for_itself() -> None:
    params = draw(50, 80)
    assert params.brightness.unique().numel() > 3900  # type: ignore[no-untyped-call]
    orders, counts = params.order.flatten(0, 1).unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]
    assert len(orders) == 24
    assert (counts > 100).all()
    for happened in (params.hue_first, params.sharpen, params.posterise):
        assert abs(happened.double().mean() - 0.5) < 0.03
    for drawn, low, high in [
        (params.brightness, 0.9, 1.1),
        (params.hue, -0.1, 0.1),
        (params.sigma_px, 0.1, 2.0),
    ]:
        assert low <= drawn.min() < drawn.max() <= high
        assert abs(drawn.mean() - (low + high) / 2) < 0.02 * (high - low)
    columns = [params.hue_first, params.sharpen, params.posterise]
    columns += [params.brightness, params.hue, params.sigma_px, params.order[..., 0]]
    flat = torch.stack([column.flatten().double() for column in columns])
    correlation = torch.corrcoef(flat).fill_diagonal_(0)
    assert correlation.abs().max() < 0.06


def test_views_one_after_the_other_are_the_views_alone() -> None:
    batch = images(4, 8, 8)
    parts = [draw(2, 4, view=0), draw(2, 4, view=1)]
    expected = [apply_patch_photometric(batch[:2], parts[0], 4)]
    expected += [apply_patch_photometric(batch[2:], parts[1], 4)]
    together = apply_patch_photometric(batch, PatchPhotometric.concatenate(parts), 4)
    assert ((together - torch.cat(expected)).abs() < 1e-5).float().mean() > 0.99


def test_an_image_is_recoloured_the_same_in_any_batch() -> None:
    among = draw(9, 16)
    alone = sample_patch_photometric(DrawKey(0, 0, np.array([7]), 0), 16, CONFIG)
    for name in ("order", "hue_first", "brightness", "hue", "sigma_px", "sharpen", "posterise"):
        assert torch.equal(getattr(among, name)[7:8], getattr(alone, name))


@pytest.mark.bad_input
def test_wrong_arguments_are_named() -> None:
    caller = "^apply_patch_photometric: "
    with pytest.raises(
        RangeError, match=r"^sample_patch_photometric: num_patches must be positive"
    ):
        draw(1, 0)
    with pytest.raises(RangeError, match=f"{caller}patch_px must be positive, got 0"):
        apply_patch_photometric(images(1, 8, 8), draw(1, 4), 0)
    message = r"image sides must be multiples of patch_px 4, got \(8, 10\)"
    with pytest.raises(ShapeError, match=caller + message):
        apply_patch_photometric(images(1, 8, 10), draw(1, 4), 4)
    with pytest.raises(ShapeError, match=caller + r"params must have shape \(1, 4\), got \(1, 5\)"):
        apply_patch_photometric(images(1, 8, 8), draw(1, 5), 4)
