"""Raw patches."""

import pytest
import torch

from patchwise.errors import RangeError
from patchwise.eval.baselines import RawPatches
from patchwise.models.backbone import Backbone


def test_pixels_of_a_patch_are_its_features() -> None:
    images = torch.rand(2, 3, 16, 24)
    backbone: Backbone = RawPatches(8)
    output = backbone(images)
    assert output.grid == (2, 3)
    assert output.patches.shape == (2, 6, backbone.dim)
    torch.testing.assert_close(output.patches[1, 4].reshape(3, 8, 8), images[1, :, 8:16, 8:16])
    torch.testing.assert_close(output.cls, output.patches.mean(dim=1))


@pytest.mark.bad_input
def test_a_patch_has_pixels() -> None:
    with pytest.raises(RangeError, match="patch_px must be positive, got 0"):
        RawPatches(0)
