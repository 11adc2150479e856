"""k-NN classification of labelled images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchwise.data.source import open_labelled
from patchwise.eval.images import image_features, knn_images
from tests.small_runs import small_vit


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Twelve red and twelve blue images, each a little different."""
    draw = np.random.default_rng(0)
    for index in range(24):
        pixels = draw.integers(0, 40, (40, 50, 3))
        pixels[..., 2 * (index % 2)] += 200
        path = tmp_path / ("red" if index % 2 == 0 else "blue") / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


def test_there_is_one_feature_an_image_in_order(colours: Path) -> None:
    source = open_labelled(colours)
    vit = small_vit().eval()
    features = image_features(vit, source, crop_px=32)
    assert features.shape == (24, 32)
    again = image_features(vit, source, crop_px=32)
    torch.testing.assert_close(features, again, rtol=0, atol=0)
    assert not torch.allclose(features[0], features[-1])


def test_easy_classes_are_told_and_no_image_votes_for_itself(colours: Path) -> None:
    vit = small_vit().eval()
    result = knn_images(vit, open_labelled(colours), crop_px=32)
    assert result.num_queries == 24
    assert result.num_memory == 23
    # With k 20 of 23 others, 11 of one's own class stand against 12 of the other: colour must count
    assert result.accuracy > 0.9
    assert "leave-one-out crop=32" in result.protocol
