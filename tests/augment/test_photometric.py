"""Colour changes of views: the drawn order, chances and strengths, one image at a time."""

import dataclasses

import numpy as np
import pytest
import torch

from patchwise.augment.draw import DrawKey
from patchwise.augment.photometric import (
    JITTER,
    Photometric,
    apply_photometric,
    change_some,
    sample_photometric,
)
from patchwise.configs.views import ViewsConfig
from patchwise.errors import RangeError, ShapeError
from patchwise.ops import colour

VIEWS = ViewsConfig()
ADDED = torch.arange(1.0, 10.0)


def draw(
    count: int, views: ViewsConfig = VIEWS, blur: float = 0.5, solarise: float = 0.3, view: int = 0
) -> Photometric:
    key = DrawKey(0, 0, np.arange(count), view)
    return sample_photometric(key, views, blur_prob=blur, solarise_prob=solarise)


def images(count: int, side: int = 9) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def reference(image: torch.Tensor, params: Photometric, at: int) -> torch.Tensor:
    """The changes of one image, one after the other."""
    apply = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
    image = image[None]
    if params.jitter[at]:
        for op in params.order[at].tolist():
            image = apply[op](image, params.strength[at : at + 1, op])
    if params.grayscale[at]:
        image = colour.grayscale(image)
    if params.blur[at]:
        window = 2 * params.blur_radius_px + 1
        sigma_px = params.sigma_px[at : at + 1]
        image = colour.gaussian_blur(image, sigma_px, kernel_px=(window, window))
    return colour.solarise(image)[0] if params.solarise[at] else image[0]


def test_equals_the_changes_one_image_at_a_time() -> None:
    batch, params = images(64), draw(64)
    before = batch.clone()
    expected = torch.stack([reference(image, params, at) for at, image in enumerate(batch)])
    changed = apply_photometric(batch, params)
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)
    assert torch.equal(batch, before)
    assert (changed >= 0).all()
    assert (changed <= 1).all()


def test_the_order_of_the_jitter_matters_and_all_orders_are_drawn() -> None:
    params = draw(4000)
    assert JITTER == ("brightness", "contrast", "saturation", "hue")
    orders, counts = params.order.unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]
    assert len(orders) == 24
    assert (counts > 100).all()
    assert (orders.sort(dim=1).values == torch.arange(4)).all()
    backwards = dataclasses.replace(params, order=params.order.flip(1))
    batch = images(4000, 4)
    assert not torch.allclose(apply_photometric(batch, params), apply_photometric(batch, backwards))


def test_chances_and_strengths_are_those_asked_for() -> None:
    params = draw(4000)
    for happened, prob in [
        (params.jitter, 0.8),
        (params.grayscale, 0.2),
        (params.blur, 0.5),
        (params.solarise, 0.3),
    ]:
        assert abs(happened.double().mean() - prob) < 0.03
    limits = [(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]
    for strength, (low, high) in [*zip(params.strength.T, limits, strict=True)]:
        assert low <= strength.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < strength.max() <= high
        assert abs(strength.mean() - (low + high) / 2) < 0.02 * (high - low)
    assert 0.1 <= params.sigma_px.min() < 0.11
    assert 1.99 < params.sigma_px.max() <= 2.0
    assert params.blur_radius_px == 6
    narrow = sample_photometric(
        DrawKey(0, 0, np.arange(9), 0), VIEWS, blur_prob=1.0, solarise_prob=0.0, blur_radius_px=3
    )
    assert narrow.blur_radius_px == 3


def test_draws_do_not_hang_together() -> None:
    params = draw(4000)
    columns = [params.jitter, params.grayscale, params.blur, params.solarise, params.sigma_px]
    columns += [*params.strength.T, *params.order.T[:1]]
    correlation = torch.corrcoef(torch.stack([column.double() for column in columns]))
    correlation.fill_diagonal_(0)
    assert correlation.abs().max() < 0.06


def test_strengths_and_chances_of_zero_change_nothing() -> None:
    still = ViewsConfig(
        jitter_prob=1.0, brightness=0, contrast=0, saturation=0, hue=0, grayscale_prob=0
    )
    batch = images(8)
    assert torch.equal(apply_photometric(batch, draw(8, still, blur=0, solarise=0)), batch)
    unmoved = dataclasses.replace(VIEWS, jitter_prob=0.0, grayscale_prob=0.0)
    assert torch.equal(apply_photometric(batch, draw(8, unmoved, blur=0, solarise=0)), batch)


def test_an_image_is_changed_the_same_in_any_batch() -> None:
    batch = images(9)
    params = draw(9)
    key = DrawKey(0, 0, np.array([7]), 0)
    alone = sample_photometric(key, VIEWS, blur_prob=0.5, solarise_prob=0.3)
    changed = apply_photometric(batch, params)
    torch.testing.assert_close(
        apply_photometric(batch[7:8], alone), changed[7:8], atol=1e-6, rtol=0
    )


def test_views_one_after_the_other_are_the_views_alone() -> None:
    batch = images(12)
    parts = [draw(6, view=0, blur=1.0), draw(6, view=1, solarise=1.0)]
    together = Photometric.concatenate(parts)
    assert len(together) == 12
    expected = [apply_photometric(batch[:6], parts[0]), apply_photometric(batch[6:], parts[1])]
    changed = apply_photometric(batch, together)
    torch.testing.assert_close(changed, torch.cat(expected), atol=1e-6, rtol=0)


def test_only_the_chosen_images_change() -> None:
    batch = torch.zeros(4, 3, 2, 2)
    chosen = torch.tensor([True, False, True, False])
    change_some(batch, chosen, lambda some, add: some + add[:, None, None, None], torch.arange(4.0))
    assert batch[:, 0, 0, 0].tolist() == [0, 0, 2, 0]
    change_some(batch, ~chosen & chosen, lambda some: some + 1)
    assert batch.sum() == 24


def test_parts_of_many_images_are_changed_as_one() -> None:
    """More values than are changed at a time."""
    batch = torch.zeros(9, 3, 256, 256)
    change_some(batch, torch.arange(9) != 4, lambda some, add: some + add.view(-1, 1, 1, 1), ADDED)
    assert torch.equal(batch.mean(dim=(1, 2, 3)), ADDED * (torch.arange(9) != 4))


@pytest.mark.bad_input
def test_wrong_arguments_are_named() -> None:
    with pytest.raises(
        RangeError, match=r"^sample_photometric: blur_prob must lie in \[0, 1\], got 2"
    ):
        draw(1, blur=2)
    with pytest.raises(RangeError, match=r"solarise_prob must lie in \[0, 1\], got -1"):
        draw(1, solarise=-1)
    message = r"^apply_photometric: images must have shape \(2, 3, any, any\), got \(3, 3, 9, 9\)"
    with pytest.raises(ShapeError, match=message):
        apply_photometric(images(3), draw(2))
