"""A view is drawn as the backbone is fed it, and named by what it is."""

import numpy as np
import pytest

from patchwise.pictures.colours import rgb
from patchwise.pictures.view_tiles import boxes_tile, view_colour, view_name, view_pixels
from patchwise.pictures.views import training_views
from tests.pictures.coordinate_images import METHOD, coordinate_batch


def test_view_pixels_undo_the_normalisation() -> None:
    batch = coordinate_batch()
    drawn = training_views(batch, METHOD, patch_px=8, seed=0)
    for image in range(2):
        for view, crop in enumerate(drawn.crops):
            top, left, height, width = crop.boxes[image].tolist()
            shown = view_pixels(drawn, view, image).astype(float)
            assert shown[..., 0].mean() == pytest.approx(255 * (top + height / 2) / 128, abs=2)
            assert shown[..., 1].mean() == pytest.approx(255 * (left + width / 2) / 160, abs=2)


def test_names() -> None:
    assert [view_name(v) for v in range(4)] == ["global 1", "global 2", "local 1", "local 2"]


def test_boxes_lie_where_the_crops_are() -> None:
    """Each frame's colour is found at its crop's place in the enlarged image."""
    batch = coordinate_batch()
    crops = training_views(batch, METHOD, patch_px=8, seed=0).crops
    for view, crop in enumerate(crops):
        drawn = boxes_tile(batch, 1, "b", [crop]).pixels
        factor = drawn.shape[1] / 160
        top, left, height, width = (factor * crop.boxes[1]).tolist()
        at = np.argwhere((drawn == rgb(view_colour(0))).all(axis=2))
        assert at.min(axis=0) == pytest.approx([top, left], abs=2), view
        assert at.max(axis=0) == pytest.approx([top + height, left + width], abs=3), view
