"""Features as protocols see them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from patchwise.errors import RangeError
from patchwise.features.look import look, look_at_blocks
from patchwise.models.backbone import BackboneOutput
from patchwise.normalisation import normalise
from tests.eval.tiny import Sighted
from tests.small_runs import other_pixels, small_vit

PIXELS = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)


def test_they_are_of_normalised_images_in_float32_and_without_gradient() -> None:
    output = look(Sighted(), PIXELS)
    torch.testing.assert_close(output.patches, Sighted()(normalise(PIXELS.float() / 255)).patches)
    with torch.autocast("cpu", torch.bfloat16):
        half = look(small_vit(), PIXELS)
    assert half.cls.dtype == half.patches.dtype == torch.float32
    assert not half.patches.requires_grad


def test_blocks_are_those_of_the_backbone_on_normalised_images() -> None:
    vit = small_vit()
    found = look_at_blocks(vit, PIXELS, count=2)
    expected = vit.last_blocks(normalise(PIXELS.float() / 255), count=2)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.cls, other.cls)
        assert torch.equal(one.patches, other.patches)
        assert not one.cls.requires_grad


def test_images_are_normalised_as_the_backbones_own() -> None:
    vit, other = small_vit().eval(), other_pixels(small_vit().eval())
    for one, two in (
        (look(vit, PIXELS), look(other, PIXELS)),
        *zip(
            look_at_blocks(vit, PIXELS, count=2),
            look_at_blocks(other, PIXELS, count=2),
            strict=True,
        ),
    ):
        torch.testing.assert_close(one.patches, two.patches, atol=1e-4, rtol=1e-4)


@pytest.mark.bad_input
def test_a_backbone_without_blocks_is_told_so() -> None:
    class Plain:
        dim, patch_px, device = 3, 8, torch.device("cpu")

        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            return Sighted()(images)

    message = r"must have last_blocks\(images, count=...\) for features of 3 blocks, got Plain"
    with pytest.raises(RangeError, match=message):
        look_at_blocks(Plain(), PIXELS, count=3)


@pytest.mark.bad_input
@pytest.mark.parametrize("part", ["cls", "patches"])
def test_features_that_are_not_finite_have_no_score(part: str) -> None:
    class Broken(Sighted):
        def __call__(self, images: Tensor, *, attention: bool = False) -> BackboneOutput:
            output = super().__call__(images)
            broken = getattr(output, part).clone()
            broken[0, 0] = torch.nan
            return replace(output, **{part: broken})

    with pytest.raises(RangeError, match="features must be finite numbers, got"):
        look(Broken(), PIXELS)
    with pytest.raises(RangeError, match="features must be finite numbers, got"):
        look_at_blocks(Broken(), PIXELS, count=1)
