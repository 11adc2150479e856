"""What stands behind the study of CoTAP is measured as it is said to be."""

import json

import numpy as np
import pytest
import torch
from studies.cotap_causes import RESULTS, alike, explained, measure, table
from studies.cotap_results import PAGE

from patchwise.configs.backbone import ViTConfig
from patchwise.data.synthetic import render_scenes
from patchwise.models.vit import ViT


def test_pairs_of_one_category_are_found_by_what_tells_categories() -> None:
    category = torch.arange(4).repeat(6).reshape(3, 8)
    chosen = torch.ones(3, 8, dtype=torch.bool)
    telling = torch.eye(4)[category]
    assert alike(telling, category, chosen) == 1
    torch.manual_seed(0)
    random = alike(torch.randn(50, 64, 8), torch.randint(4, (50, 64)), torch.ones(50, 64) > 0)
    assert random == pytest.approx(0.5, abs=0.01)


def test_only_chosen_patches_of_two_images_are_paired() -> None:
    category = torch.tensor([[0, 1, 0], [0, 1, 1]])
    features = torch.tensor([[[1.0, 0], [0, 1], [0, 1]], [[1, 0], [0, 1], [1, 0]]])
    chosen = torch.tensor([[True, True, False], [True, True, False]])
    assert alike(features, category, chosen) == 1
    crossed = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]])  # alike are only they themselves
    assert alike(crossed, torch.tensor([[0, 1], [0, 1]]), chosen[:, :2]) == 0


def test_what_is_explained_is_a_share_of_the_variance() -> None:
    torch.manual_seed(0)
    causes, other = torch.randn(5000, 3), torch.randn(5000, 3)
    assert explained(causes, causes @ torch.randn(3, 5) + 2) == pytest.approx(1, abs=1e-4)
    assert explained(causes, causes + other) == pytest.approx(0.5, abs=0.05)
    assert explained(causes, other) == pytest.approx(0, abs=0.01)


def test_a_backbone_is_measured() -> None:
    torch.manual_seed(0)
    backbone = ViT(ViTConfig(dim=24, depth=2, heads=3, patch_px=8, image_px=64))
    found = measure(backbone, render_scenes(np.arange(40)))
    assert 0.3 < found.everywhere < 0.5
    assert 0.2 < found.in_mask < 0.7
    assert 0.4 < found.alike < 0.7
    assert 0 < found.colour < 1


def test_the_page_has_what_was_measured() -> None:
    assert table(json.loads(RESULTS.read_text(encoding="utf-8"))) in PAGE.read_text("utf-8")
