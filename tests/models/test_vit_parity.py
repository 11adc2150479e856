"""Our ViT against those of timm and transformers, with every weight redrawn.

At other than the stored size each library resizes the position embedding by its own rule; the rule
is given beside each model, and the other rules must not fit.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from patchwise.configs.backbone import Interpolation
from patchwise.models.vit import ViT
from patchwise.models.weights import read_backbone
from tests.models.redrawing import redraw
from tests.models.weights.peers import GRIDS, check_features, largest_difference, make_peer

RULES: dict[tuple[str, str], Interpolation] = {
    ("timm", "ViT"): "size-antialias",
    ("timm", "DINOv2, registers"): "size-antialias",
    ("transformers", "ViT"): "size",
    ("transformers", "Dinov2"): "size",
    ("transformers", "Dinov2WithRegisters"): "size-antialias",
}


@pytest.mark.parametrize(("library", "name"), RULES)
@pytest.mark.parametrize("patch_px", [8, 14, 16])
def test_features_are_those_of_the_other_library(
    library: str, name: str, patch_px: int, tmp_path: Path
) -> None:
    """With patches of 4 px: see the tests of each format of weights."""
    check_features(make_peer(library, name, patch_px), tmp_path)


@pytest.mark.parametrize(("library", "name"), RULES)
def test_the_other_rules_do_not_fit(library: str, name: str, tmp_path: Path) -> None:
    peer = make_peer(library, name, 8)
    peer.save(tmp_path)
    ours = read_backbone(tmp_path).vit
    assert ours.config.interpolation == RULES[library, name]
    for rule in set(get_args(Interpolation)) - {RULES[library, name]}:
        config = replace(ours.config, interpolation=rule)
        other = ViT(config).eval()
        other.load_state_dict(ours.state_dict())
        assert largest_difference(peer, other, GRIDS[0])[1] < 1e-5, "nothing is resized"
        assert largest_difference(peer, other, (4, 8))[1] > 1e-3


@torch.no_grad()
def test_attention_is_that_of_transformers(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        mlp_ratio=2,
        image_size=24,
        patch_size=4,
        num_register_tokens=2,
        attn_implementation="eager",
    )
    peer = transformers.Dinov2WithRegistersModel(config).eval()
    redraw(peer)
    peer.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 16, 28)
    theirs = peer(images, output_attentions=True).attentions[-1]
    ours = read_backbone(tmp_path).vit(images, attention=True)
    torch.testing.assert_close(ours.attention, theirs[:, :, 0, 3:], atol=1e-6, rtol=0)
