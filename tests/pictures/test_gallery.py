"""What a backbone makes of a gallery is what it makes of the images."""

import torch

from patchwise.normalisation import normalise
from patchwise.pictures.gallery import look
from tests.pictures.galleries import gallery
from tests.small_runs import other_pixels, small_filtered, small_vit


def test_features_are_those_of_the_images_in_order() -> None:
    vit, images = small_vit().eval(), gallery(40)
    found = look(vit, images)
    assert found.grid == (4, 4)
    assert found.patches.shape == (40, 16, 32)
    assert found.attention.shape == (40, 2, 16)
    for i in (0, 33, 39):
        pixels = torch.from_numpy(images.images[i : i + 1]).movedim(-1, 1) / 255
        alone = vit(normalise(pixels), attention=True)
        assert alone.attention is not None
        torch.testing.assert_close(found.patches[i], alone.patches[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.attention[i], alone.attention[0], atol=1e-5, rtol=1e-4)


def test_images_are_normalised_as_the_backbones_own() -> None:
    vit, images = small_vit().eval(), gallery(3)
    found, other = look(vit, images), look(other_pixels(vit), images)
    torch.testing.assert_close(found.patches, other.patches, atol=1e-4, rtol=1e-4)


def test_prototypes_are_read_as_the_filter_reads_them() -> None:
    """The mean over heads, of every image, in order."""
    filtered, images = small_filtered(), gallery(40)
    found = look(filtered, images)
    assert found.patches.shape == (40, 16, 64)
    assert found.prototypes is not None
    assert found.prototypes.shape == (40, 16, 3)
    torch.testing.assert_close(found.prototypes.sum(dim=-1), torch.ones(40, 16))
    for i in (0, 33, 39):
        pixels = torch.from_numpy(images.images[i : i + 1]).movedim(-1, 1) / 255
        heads = filtered.prototype_attention(normalise(pixels))[0][0]
        torch.testing.assert_close(found.prototypes[i], heads.mean(dim=0), atol=1e-5, rtol=1e-4)
    assert look(filtered.vit, images).prototypes is None
