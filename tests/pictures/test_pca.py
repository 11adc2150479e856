"""Colours of features: one basis, one range, nothing that differs without a reason."""

import dataclasses

import pytest
import torch

from patchwise.errors import ShapeError
from patchwise.pictures.pca import pca_figure, shared_colours
from tests.pictures.galleries import gallery, seen


def features(seed: int) -> torch.Tensor:
    scale = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    return torch.randn(8, 16, 6, generator=torch.Generator().manual_seed(seed)) * scale


def test_equal_features_have_equal_colours() -> None:
    colours = shared_colours(features(0), features(0))
    torch.testing.assert_close(colours.before, colours.after)
    assert colours.share_before == pytest.approx(colours.share_after)


def test_length_and_the_mean_of_an_image_change_nothing() -> None:
    shift = torch.randn(8, 1, 6, generator=torch.Generator().manual_seed(9))
    colours = shared_colours(features(0), 7 * features(0) + shift)
    torch.testing.assert_close(colours.before, colours.after, atol=1e-4, rtol=0)


def test_swapping_before_and_after_swaps_the_colours() -> None:
    one, other = shared_colours(features(0), features(1)), shared_colours(features(1), features(0))
    torch.testing.assert_close(one.before, other.after)
    torch.testing.assert_close(one.after, other.before)


def test_a_space_of_another_width_that_says_the_same_has_the_same_colours() -> None:
    """Turned, mirrored, twice as wide: nothing between patches has changed."""
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3))).Q
    wide = torch.cat([features(0), torch.zeros(8, 16, 6)], dim=-1) @ turn
    colours = shared_colours(features(0), wide)
    torch.testing.assert_close(colours.before, colours.after, atol=1e-4, rtol=0)
    assert colours.share_before == pytest.approx(colours.share_after)


def test_each_space_is_shown_by_its_own_directions() -> None:
    """What only one of them tells apart is seen there, though the other has three directions."""
    part = torch.arange(16) % 2
    planted = torch.cat([torch.zeros(8, 16, 6), 5 * torch.eye(2)[part].expand(8, -1, -1)], dim=-1)
    wide = planted + 0.01 * torch.randn(8, 16, 8, generator=torch.Generator().manual_seed(5))
    colours = shared_colours(features(1), wide)
    apart = colours.after[:, part == 0].mean(dim=(0, 1)) - colours.after[:, part == 1].mean((0, 1))
    assert float(apart.abs().max()) > 0.2
    assert colours.share_after > 0.99
    assert colours.share_before < 0.99


def test_few_changed_patches_leave_the_colours_of_the_others() -> None:
    changed = features(0).clone()
    changed[0, :4] = -changed[0, :4]
    colours = shared_colours(features(0), changed)
    apart = (colours.before - colours.after).abs()
    assert float(apart[1:].max()) < 0.1
    assert float(apart[0, :4].mean()) > 0.15


def test_red_is_what_varies_most() -> None:
    colours = shared_colours(features(0), features(0)).after
    spread = (colours - colours.mean(dim=(0, 1))).square().mean(dim=(0, 1))
    assert colours.amax() == 1
    assert colours.amin() == 0
    first = (features(0) - features(0).mean(dim=1, keepdim=True))[..., 0].flatten()
    along = torch.corrcoef(torch.stack([first, colours[..., 0].flatten()]))[0, 1].abs()
    assert float(along) > 0.9
    assert float(spread.min()) > 0


def test_a_rotation_of_both_changes_no_colour_but_its_direction() -> None:
    """The basis follows the features, whatever the axes; each colour may be reversed."""
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3))).Q
    plain = shared_colours(features(0), features(1))
    turned = shared_colours(features(0) @ turn, features(1) @ turn)
    for channel in range(3):
        first, second = plain.after[..., channel], turned.after[..., channel]
        apart = min(float((first - second).abs().max()), float((first - 1 + second).abs().max()))
        assert apart < 1e-3


def test_the_share_is_that_of_the_three_largest_directions() -> None:
    axes = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    both = torch.cat([axes, -axes])[None]  # mean 0; variances 16, 9, 4 and 1
    colours = shared_colours(both, both)
    assert colours.share_after == pytest.approx(29 / 30)


def test_parts_that_differ_are_told_apart_in_all_images() -> None:
    part = torch.arange(16) % 2
    planted = 3 * torch.eye(6)[part].expand(8, -1, -1) + 0.01 * features(0)
    colours = shared_colours(features(1), planted).after
    means = [colours[:, part == p].mean(dim=(0, 1)) for p in (0, 1)]
    assert float((means[0] - means[1]).abs().max()) > 0.3
    assert float(colours[:, part == 0].std(dim=(0, 1)).max()) < 0.05


def test_constant_features_are_no_trouble() -> None:
    colours = shared_colours(torch.ones(2, 4, 5), torch.ones(2, 4, 5))
    assert colours.before.isfinite().all()
    assert colours.share_after == 0


def test_the_figure_shows_each_image_before_and_after() -> None:
    same = seen()
    figure = pca_figure(gallery(), same, dataclasses.replace(same))
    assert [[tile.label for tile in row.tiles] for row in figure.rows] == [
        ["image", "before", "after"]
    ] * 3
    for row in figure.rows:
        assert (row.tiles[1].pixels == row.tiles[2].pixels).all()
    assert "before and 100% after" not in figure.facts
    assert "8 channels before and 8 after" in figure.facts


def test_the_widths_are_told() -> None:
    wide = dataclasses.replace(seen(), patches=torch.cat([seen().patches] * 2, dim=-1))
    assert "8 channels before and 16 after" in pca_figure(gallery(), seen(), wide).facts


@pytest.mark.bad_input
def test_features_of_other_patches_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"after must have shape \(2, 3, any\), got \(2, 4, 4\)"):
        shared_colours(torch.rand(2, 3, 4), torch.rand(2, 4, 4))
