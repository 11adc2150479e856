"""k-NN over patches of synthetic scenes."""

import numpy as np
import torch
from torch import Tensor

from patchwise.data.synthetic import CATEGORIES, render_scenes
from patchwise.eval.scenes import (
    EVALUATION_SEED,
    backbone_patches,
    knn_scene_patches,
    majority_category,
    pixel_patches,
)
from patchwise.normalisation import normalise
from tests.small_runs import small_vit

FEW = {"memory_scenes": 40, "query_scenes": 20}


class Oracle:
    """Features that give the category away: scenes are recognised by their pixels."""

    def __init__(self) -> None:
        scenes = render_scenes(np.arange(60), seed=EVALUATION_SEED)
        semantic = torch.from_numpy(scenes.semantic)
        self.answers = majority_category(semantic, patch_px=8)
        images = torch.from_numpy(scenes.images).movedim(-1, 1).float() / 255
        self.keys = normalise(images).flatten(1).sum(dim=1)

    def __call__(self, images: Tensor) -> Tensor:
        found = [(self.keys - key).abs().argmin() for key in images.flatten(1).sum(dim=1)]
        return torch.nn.functional.one_hot(self.answers[torch.stack(found)], 11).float()


def test_perfect_features_score_one() -> None:
    result = knn_scene_patches(Oracle(), patch_px=8, **FEW)
    assert result.accuracy == 1.0
    assert result.balanced_accuracy == 1.0


def test_constant_features_score_about_chance() -> None:
    result = knn_scene_patches(lambda images: torch.ones(len(images), 64, 3), patch_px=8, **FEW)
    assert result.balanced_accuracy < 0.2


def test_the_protocol_names_every_setting() -> None:
    def blind(images: Tensor) -> Tensor:
        return torch.ones(len(images), (images.shape[-1] // 16) ** 2, 3)

    results = [
        knn_scene_patches(blind, patch_px=16, **FEW),
        knn_scene_patches(blind, patch_px=16, memory_scenes=41, query_scenes=20),
        knn_scene_patches(blind, patch_px=16, size_px=96, **FEW),
    ]
    assert len({result.protocol for result in results}) == 3


def test_a_vits_patches_are_its_output() -> None:
    vit = small_vit().eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(backbone_patches(vit)(images), vit(images).patches)


def test_pixels_of_a_patch_are_its_features() -> None:
    images = torch.rand(2, 3, 16, 24)
    patches = pixel_patches(8)(images)
    assert patches.shape == (2, 6, 192)
    torch.testing.assert_close(patches[1, 4].reshape(3, 8, 8), images[1, :, 8:16, 8:16])


def test_the_majority_is_of_the_patch_and_never_the_background() -> None:
    semantic = torch.zeros(1, 8, 16, dtype=torch.uint8)
    semantic[0, :, 3:8] = 4  # 5 of 8 columns
    semantic[0, :, 13:] = len(CATEGORIES)  # 3 of 8 columns
    assert majority_category(semantic, patch_px=8).tolist() == [[4, 0]]
